import { buildCommand, type Command } from '@stricli/core';
import { formatSize, parseSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { roundedNote } from '../table.ts';

export const growCommand: Command<CliContext> = buildCommand<PoolFlags, [string, string], CliContext>({
  docs: {
    brief: 'Make a volume larger',
    fullDescription: withExamples(
      'Makes a volume larger, also while it is in use. It is never made smaller. A running guest then has to be told by its hypervisor, and has to grow its partition and file system.',
      'coppice grow vm-1 20G',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [word('NAME', 'The volume', 'entry'), word('SIZE', 'Its new size, such as 20G')],
    },
  },
  func: reporting(async (context, flags: PoolFlags, name: string, size: string) => {
    const { withPool } = await import('../session.ts');
    const bytes = parseSize(size);
    const grown = await withPool(context, flags, (pool) => pool.grow(name, { bytes }));
    print(context, flags, grown, () => {
      const change =
        grown.bytes === grown.previousBytes
          ? `${name} has ${formatSize(grown.bytes)} already.`
          : `Grew ${name} from ${formatSize(grown.previousBytes)} to ${formatSize(grown.bytes)}${roundedNote(grown.roundedFrom)}.`;
      return grown.inUse
        ? `${change}\nIt is in use: tell the hypervisor, then grow the partition and the file system in the guest.`
        : change;
    });
  }),
});
