import { buildCommand, type Command } from '@stricli/core';
import { printList, reporting } from '../../command.ts';
import { type CliContext, jsonFlag, withExamples } from '../../context.ts';
import { table } from '../../table.ts';
import { lineWidth } from '../../terminal.ts';
import { tokenFileFlag } from './flags.ts';

interface Flags {
  readonly file?: string;
  readonly json: boolean;
}

export const tokenListCommand: Command<CliContext> = buildCommand<Flags, [], CliContext>({
  docs: {
    brief: 'List who may use the server over the network',
    fullDescription: withExamples(
      'Lists tokens and common names of certificates, what each may do, and until when. The tokens themselves are not kept.',
      'coppice token list',
      'coppice token list --json',
    ),
  },
  parameters: {
    flags: { file: tokenFileFlag, json: jsonFlag },
    positional: { kind: 'tuple', parameters: [] },
  },
  func: reporting(async (context, flags: Flags) => {
    const { defaultTokenFile, isExpired, readGrants } = await import('../../../server/auth/tokens.ts');
    const grants = readGrants(flags.file ?? defaultTokenFile);
    const result = grants.map(({ sha256, ...grant }) => ({ ...grant, expired: isExpired(grant) }));
    const nothing = 'Nobody may use the server over the network; "coppice token create NAME" makes a token.';
    printList(context, flags, { result, rows: result, nothing }, (rows) =>
      table(
        rows,
        [
          { title: 'NAME', value: ({ name }) => name, shortens: true },
          { title: 'KIND', value: ({ kind }) => kind, givesWay: 2 },
          { title: 'SCOPE', value: ({ scope }) => scope },
          { title: 'POOLS', value: ({ pools }) => pools?.join(', ') ?? 'all', givesWay: 3, shortens: true },
          { title: 'EXPIRES', value: ({ expires, expired }) => (expired ? 'expired' : (expires ?? 'never')) },
          { title: 'CREATED', value: ({ created }) => created, givesWay: 1 },
        ],
        lineWidth(context.process.stdout, context.process),
      ),
    );
  }),
});
