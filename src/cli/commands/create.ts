import { buildCommand, type Command } from '@stricli/core';
import { formatSize, parseSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalSize,
  type PoolFlags,
  poolFlags,
  sizeText,
  withExamples,
  word,
} from '../context.ts';
import { roundedNote } from '../table.ts';

interface Flags extends PoolFlags {
  readonly size: string;
  readonly 'block-size'?: string;
}

export const createCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Make an empty volume',
    fullDescription: withExamples(
      'Makes an empty volume. It takes no space until something is written to it.',
      'coppice create data --size 10G',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      size: sizeText('Size of the disk'),
      'block-size': optionalSize(
        'On zfs: size of the blocks the disk is kept in, 16K when absent; 4K spares reading before small writes and compresses far less',
      ),
    },
    positional: { kind: 'tuple', parameters: [word('NAME', 'Name of the new volume')] },
  },
  func: reporting(async (context, flags: Flags, name: string) => {
    const { withPool } = await import('../session.ts');
    const bytes = parseSize(flags.size);
    const blockSize = flags['block-size'];
    const options = { bytes, ...(blockSize !== undefined && { blockBytes: parseSize(blockSize) }) };
    const created = await withPool(context, flags, (pool) => pool.create(name, options));
    print(
      context,
      flags,
      created,
      () => `Created volume ${name}: ${formatSize(created.bytes)}${roundedNote(created.roundedFrom)}.`,
    );
  }),
});
