import { buildCommand, type Command } from '@stricli/core';
import { shellWord } from '../../../model/shell-word.ts';
import { parseSize } from '../../../model/sizes.ts';
import { note, print, reporting } from '../../command.ts';
import {
  type CliContext,
  jsonFlag,
  optionalSize,
  optionalText,
  poolPathArgument,
  toggle,
  withExamples,
} from '../../context.ts';

interface Flags {
  readonly json: boolean;
  readonly driver?: 'btrfs' | 'xfs' | 'zfs';
  readonly file?: string;
  readonly size?: string;
  readonly preallocate: boolean;
  readonly device?: readonly string[];
  readonly force: boolean;
  readonly existing: boolean;
}

export const poolCreateCommand: Command<CliContext> = buildCommand<Flags, [string?], CliContext>({
  docs: {
    brief: 'Make a pool: btrfs, xfs or ZFS in a file, on a device, or one that exists',
    fullDescription: withExamples(
      'Makes a pool and mounts it. By default it lies in a sparse file of 50 GiB beside the directory. It can be run again at any time: what is there already is left alone, what an interrupted run missed is done.',
      'coppice pool create',
      'coppice pool create /srv/vms --file /data/vms.img --size 200G',
      'coppice pool create /srv/vms --device /dev/nvme1n1',
      'coppice pool create /srv/vms --driver xfs',
      'coppice pool create /home/me/vms --existing',
      'coppice pool create --driver zfs --device /dev/nvme0n1p2 --device /dev/nvme1n1',
      'coppice pool create zfs:tank/vms --existing',
    ),
  },
  parameters: {
    flags: {
      json: jsonFlag,
      driver: {
        kind: 'enum',
        values: ['btrfs', 'xfs', 'zfs'],
        brief: 'The kind of storage to make, or that is there [default = btrfs for a new one]',
        optional: true,
      },
      file: optionalText('FILE', 'File under the pool [default = PATH.img]', 'file'),
      size: optionalSize('Size of the file [default = 50G]'),
      preallocate: toggle(
        "Reserve all blocks of the file now, so that the host can't run out of space under the pool",
      ),
      device: {
        ...optionalText(
          'DEV',
          'Block device to format and use; with zfs it may be given several times',
          'file',
        ),
        variadic: true,
      },
      force: toggle('Format the device although there is something on it'),
      existing: toggle('Adopt PATH, a directory on btrfs or xfs or a dataset of ZFS, as it is'),
    },
    positional: { kind: 'tuple', parameters: [poolPathArgument] },
  },
  func: reporting(async (context, flags: Flags, pathText?: string) => {
    const { createPool } = await import('../../../engine/pools/create.ts');
    const { poolPath } = await import('../../session.ts');
    const { driver, file, size, preallocate, device, force, existing } = flags;
    const created = createPool({
      ...(driver === 'zfs' && pathText === undefined ? {} : { path: poolPath(context, pathText) }),
      ...(driver !== undefined && { driver }),
      ...(file !== undefined && { file }),
      ...(size !== undefined && { bytes: parseSize(size) }),
      ...(device !== undefined && { device }),
      preallocate,
      force,
      existing,
    });
    print(context, flags, created, () =>
      created.steps.length === 0
        ? `${created.path} is a pool already; nothing to do.`
        : `${created.steps.map((step) => `- ${step}`).join('\n')}\nThe pool ${created.path} is ready.`,
    );
    if (!flags.json) for (const warning of created.warnings) note(context, `coppice: warning: ${warning}`);
    if (
      !flags.json &&
      created.steps.length > 0 &&
      created.backing.type !== 'existing' &&
      created.backing.type !== 'zpool'
    )
      note(
        context,
        `To mount it at every boot: coppice pool persist${pathText === undefined ? '' : ` ${shellWord(created.path)}`}`,
      );
  }),
});
