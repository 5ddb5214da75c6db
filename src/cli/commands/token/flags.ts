import { optionalText, type Text } from '../../context.ts';

export const tokenFileFlag: Text & { readonly optional: true } = optionalText(
  'FILE',
  'Where tokens are kept; the server has to be told the same [default = /etc/coppice/tokens.json]',
  'file',
);
