import { resolve } from 'node:path';
import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  optionalWord,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';

interface Flags extends PoolFlags {
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export const unmountCommand: Command<CliContext> = buildCommand<Flags, [string, string?], CliContext>({
  docs: {
    brief: 'Take a directory tree from where it was mounted or linked',
    fullDescription: withExamples(
      'Unmounts a directory tree, or removes the link to it, and takes out what would mount it at boot. What is in the tree stays in the pool.',
      'coppice unmount crypt',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      force: toggle('Go on although somebody has something open there, who keeps it'),
      dryRun: toggle('Say what would happen, and change nothing'),
      fstab: optionalText('FILE', 'The fstab to write [default = /etc/fstab]', 'file'),
      unitDirectory: optionalText('DIR', 'Where the unit is [default = /etc/systemd/system]', 'directory'),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('VOLUME', 'A directory tree', 'entry'),
        optionalWord('DIRECTORY', 'Where it is, to be sure', 'directory'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, volume: string, directory?: string) => {
    const { withPool } = await import('../session.ts');
    const { force, dryRun, fstab, unitDirectory } = flags;
    const options = {
      force,
      dryRun,
      ...(fstab !== undefined && { fstab }),
      ...(unitDirectory !== undefined && { unitDirectory }),
    };
    const place = directory === undefined ? undefined : resolve(directory);
    const { path } = await withPool(context, flags, (pool) => pool.unmount(volume, place, options));
    print(context, flags, { volume, path }, () =>
      dryRun ? `Would take ${volume} from ${path}.` : `Took ${volume} from ${path}.`,
    );
  }),
});
