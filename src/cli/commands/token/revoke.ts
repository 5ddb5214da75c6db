import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../../command.ts';
import { type CliContext, jsonFlag, withExamples, word } from '../../context.ts';
import { tokenFileFlag } from './flags.ts';

interface Flags {
  readonly file?: string;
  readonly json: boolean;
}

export const tokenRevokeCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Take the rights from a token or a certificate',
    fullDescription: withExamples(
      'Takes the rights from the token and from the certificate that are called so. The server refuses them within a second, and ends what they watch. Jobs that they have begun go on.',
      'coppice token revoke ci',
    ),
  },
  parameters: {
    flags: { file: tokenFileFlag, json: jsonFlag },
    positional: { kind: 'tuple', parameters: [word('NAME', 'As "coppice token list" shows it')] },
  },
  func: reporting(async (context, flags: Flags, name: string) => {
    const { defaultTokenFile, revokeGrant } = await import('../../../server/auth/tokens.ts');
    const revoked = await revokeGrant(flags.file ?? defaultTokenFile, name);
    const result = { revoked: revoked.map(({ sha256, ...grant }) => grant) };
    print(context, flags, result, () => revoked.map(({ kind }) => `Revoked the ${kind} ${name}.`).join('\n'));
  }),
});
