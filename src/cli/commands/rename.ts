import { buildCommand, type Command } from '@stricli/core';
import { print, reporting, warn } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const renameCommand: Command<CliContext> = buildCommand<PoolFlags, [string, string], CliContext>({
  docs: {
    brief: 'Give a volume or template another name',
    fullDescription: withExamples(
      'Gives a volume or template another name. Its snapshots and its lineage come along.',
      'coppice rename vm-1 web-1',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [word('OLD', 'The name now', 'entry'), word('NEW', 'The name to give')],
    },
  },
  func: reporting(async (context, flags: PoolFlags, from: string, to: string) => {
    const { withPool } = await import('../session.ts');
    const renamed = await withPool(context, flags, (pool) => pool.rename(from, to));
    print(context, flags, renamed, () => `Renamed ${from} to ${to}.`);
    warn(context, [renamed]);
  }),
});
