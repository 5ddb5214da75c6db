import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, optionalText, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

interface Flags extends PoolFlags {
  readonly reason?: string;
}

export const holdCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Have snapshots stay, whatever policies say',
    fullDescription: withExamples(
      'Has snapshots stay: no policy removes them, and neither does "coppice remove", before they are released. A snapshot that is held already keeps its reason unless another is given.',
      'coppice hold vm-1@before-upgrade',
      'coppice hold vm-1@before-upgrade --reason "until the audit is over"',
    ),
  },
  parameters: {
    flags: { ...poolFlags, reason: optionalText('TEXT', 'Why, for whoever finds it') },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME@SNAPSHOT', 'A snapshot', 'snapshot'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool } = await import('../session.ts');
    const options = flags.reason === undefined ? {} : { reason: flags.reason };
    const result = await withPool(context, flags, (pool) => pool.hold(references, options));
    print(context, flags, result, () =>
      result
        .map(({ reference, hold, unchanged }) => {
          const why = hold?.reason === undefined ? '' : `: ${hold.reason}`;
          return unchanged ? `${reference} is held already${why}.` : `Holding ${reference}${why}.`;
        })
        .join('\n'),
    );
  }),
});
