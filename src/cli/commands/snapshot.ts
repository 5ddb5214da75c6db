import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const snapshotCommand: Command<CliContext> = buildCommand<PoolFlags, [string], CliContext>({
  docs: {
    brief: 'Take an immutable snapshot of a volume',
    fullDescription: withExamples(
      'Takes an immutable snapshot of a volume, which may be in use: it holds what a power cut at that instant would have left. Without a name it is named after the time.',
      'coppice snapshot vm-1@before-upgrade',
      'coppice snapshot vm-1',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [word('VOLUME[@NAME]', 'The volume, and the name of the snapshot', 'entry')],
    },
  },
  func: reporting(async (context, flags: PoolFlags, reference: string) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    await withPool(context, flags, async (pool) => {
      const taken = await pool.snapshot(reference);
      print(context, flags, taken, () => `Took snapshot ${taken.reference}.`);
      await warnOfSpace(context, pool);
    });
  }),
});
