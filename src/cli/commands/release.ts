import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const releaseCommand: Command<CliContext> = buildCommand<PoolFlags, string[], CliContext>({
  docs: {
    brief: 'Let snapshots go again that were held',
    fullDescription: withExamples(
      'Ends what "coppice hold" has begun: the snapshots can be removed again, by policies too. One that is not held stays as it is.',
      'coppice release vm-1@before-upgrade',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME@SNAPSHOT', 'A snapshot', 'snapshot'),
    },
  },
  func: reporting(async (context, flags: PoolFlags, ...references: string[]) => {
    const { withPool } = await import('../session.ts');
    const result = await withPool(context, flags, (pool) => pool.release(references));
    print(context, flags, result, () =>
      result
        .map(({ reference, unchanged }) =>
          unchanged ? `${reference} was not held.` : `Released ${reference}.`,
        )
        .join('\n'),
    );
  }),
});
