import { optionalText, type Text } from '../../context.ts';

export const tokenFileFlag: Text & { readonly optional: true } = optionalText(
  'FILE',
  'Where tokens are kept, as with "coppice serve --tokens" [default = /etc/coppice/tokens.json]',
  'file',
);
