import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError } from '../../model/errors.ts';
import { formatSize, parseSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, optionalSize, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { roundedNote } from '../table.ts';

interface Flags extends PoolFlags {
  readonly size?: string;
  readonly kind: 'block' | 'tree';
  readonly 'block-size'?: string;
  readonly nocow?: readonly string[];
}

export const createCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Make an empty volume',
    fullDescription: withExamples(
      'Makes an empty volume: a disk or, on btrfs and zfs, a directory tree. It takes no space until something is written to it.',
      'coppice create data --size 10G',
      'coppice create crypt --kind tree',
      'coppice create crypt --kind tree --nocow postgres',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      size: optionalSize('Size of the disk'),
      kind: {
        kind: 'enum',
        values: ['block', 'tree'],
        brief: 'A disk, which needs a size, or a directory tree, which has none',
        default: 'block',
      },
      'block-size': optionalSize(
        'On zfs: size of the blocks the disk is kept in, 16K when absent; 4K spares reading before small writes and compresses far less. Of a tree: of the records of its files, 128K when absent; 16K suits a database',
      ),
      nocow: {
        kind: 'parsed',
        parse: String,
        variadic: true,
        optional: true,
        brief:
          'On btrfs: a directory to make in the tree whose files are overwritten in place, without checksums and compression; may be given several times',
        placeholder: 'DIRECTORY',
      },
    },
    positional: { kind: 'tuple', parameters: [word('NAME', 'Name of the new volume')] },
  },
  func: reporting(async (context, flags: Flags, name: string) => {
    const { withPool } = await import('../session.ts');
    const blockSize = flags['block-size'];
    if (flags.kind === 'block' && flags.size === undefined)
      throw new CoppiceError(
        'invalid_argument',
        `Say how large ${name} is to be: coppice create ${name} --size 10G.`,
      );
    const options = {
      kind: flags.kind,
      ...(flags.size !== undefined && { bytes: parseSize(flags.size) }),
      ...(blockSize !== undefined && { blockBytes: parseSize(blockSize) }),
      ...(flags.nocow?.length && { nodatacow: flags.nocow }),
    };
    const created = await withPool(context, flags, (pool) => pool.create(name, options));
    print(context, flags, created, () =>
      flags.kind === 'tree'
        ? `Created ${name}, a directory tree; "coppice path ${name}" says where.`
        : `Created volume ${name}: ${formatSize(created.bytes)}${roundedNote(created.roundedFrom)}.`,
    );
  }),
});
