import { resolve } from 'node:path';
import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError } from '../../model/errors.ts';
import { formatSize, parseSize } from '../../model/sizes.ts';
import { note, print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalSize,
  optionalText,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { priceOfNocow } from '../price-of-nocow.ts';
import { roundedNote } from '../table.ts';
import { describeMounted } from './mount.ts';

interface Flags extends PoolFlags {
  readonly size?: string;
  readonly kind: 'block' | 'tree';
  readonly 'block-size'?: string;
  readonly nocow?: readonly string[];
  readonly owner?: string;
  readonly mode?: string;
  readonly at?: string;
  readonly link: boolean;
  readonly systemd: boolean;
  readonly noPersist: boolean;
}

export const createCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Make an empty volume',
    fullDescription: withExamples(
      'Makes an empty volume: a disk or, on btrfs and zfs, a directory tree. It takes no space until something is written to it.',
      'coppice create data --size 10G',
      'coppice create crypt --kind tree',
      'coppice create crypt --kind tree --nocow postgres --at /srv/lychd',
      'coppice create pg --kind tree --owner postgres --mode 0700',
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
      owner: optionalText('USER[:GROUP]', 'To whom a tree belongs [default = who makes it]'),
      mode: optionalText('MODE', 'Mode of a tree, such as 0700 [default = 0755]'),
      at: optionalText('DIRECTORY', 'Where a tree is to be, as with "coppice mount"', 'directory'),
      link: toggle('With --at: make a symbolic link instead of a mount'),
      systemd: toggle('With --at: write a systemd mount unit instead of a line in fstab'),
      noPersist: toggle('With --at: do not mount it at the next boot'),
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
    const mounting = {
      ...(flags.link && { link: true }),
      ...(flags.systemd && { systemd: true }),
      ...(flags.noPersist && { persist: false }),
    };
    if (flags.at === undefined && Object.keys(mounting).length > 0)
      throw new CoppiceError('invalid_argument', 'Say with --at where the tree is to be.');
    const options = {
      kind: flags.kind,
      ...(flags.size !== undefined && { bytes: parseSize(flags.size) }),
      ...(blockSize !== undefined && { blockBytes: parseSize(blockSize) }),
      ...(flags.nocow?.length && { nodatacow: flags.nocow }),
      ...(flags.owner !== undefined && { owner: flags.owner }),
      ...(flags.mode !== undefined && { mode: parseMode(flags.mode) }),
      ...(flags.at !== undefined && { at: { directory: resolve(flags.at), ...mounting } }),
    };
    if (flags.nocow?.length && !flags.json) note(context, priceOfNocow);
    const created = await withPool(context, flags, (pool) => pool.create(name, options));
    const { mounted } = created;
    print(context, flags, created, () =>
      flags.kind === 'tree'
        ? mounted
          ? `Created ${name}, a directory tree.\n${describeMounted(mounted, false)}`
          : `Created ${name}, a directory tree; "coppice path ${name}" says where.`
        : `Created volume ${name}: ${formatSize(created.bytes)}${roundedNote(created.roundedFrom)}.`,
    );
  }),
});

function parseMode(text: string): number {
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8);
  throw new CoppiceError('invalid_argument', `"${text}" is no mode of a directory, such as 0700.`);
}
