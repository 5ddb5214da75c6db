import { buildCommand, type Command } from '@stricli/core';
import { formatSize, parseSize } from '../../../model/sizes.ts';
import { note, print, reporting } from '../../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../../context.ts';

export const poolGrowCommand: Command<CliContext> = buildCommand<PoolFlags, [string], CliContext>({
  docs: {
    brief: 'Make a pool in a file larger, while it is in use',
    fullDescription: withExamples(
      'Makes a pool in a file larger while it is in use: the file, the loop device and the file system. A pool is never made smaller.',
      'coppice pool grow 100G',
      'coppice pool grow 100G --pool /srv/vms',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: { kind: 'tuple', parameters: [word('SIZE', 'New size of the file, such as 100G')] },
  },
  func: reporting(async (context, flags: PoolFlags, size: string) => {
    const bytes = parseSize(size);
    const { growPool } = await import('../../../engine/pools/grow.ts');
    const { auditOption, poolPath } = await import('../../session.ts');
    const grown = growPool(poolPath(context, flags.pool), bytes, { program: 'cli', ...auditOption(context) });
    print(context, flags, grown, () =>
      grown.bytes === grown.previousBytes
        ? `The pool ${grown.path} has ${formatSize(grown.bytes)} already.`
        : `Grew the pool ${grown.path} from ${formatSize(grown.previousBytes)} to ${formatSize(grown.bytes)}.`,
    );
    if (grown.overcommitted)
      note(
        context,
        'coppice: warning: the host has less space than the pool now promises; "coppice pool check" tells when it gets tight.',
      );
  }),
});
