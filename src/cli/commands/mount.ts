import { basename, resolve } from 'node:path';
import { buildCommand, type Command } from '@stricli/core';
import type { TreeMounted } from '../../engine/operations/mount.ts';
import { shellWord } from '../../model/shell-word.ts';
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
  readonly link: boolean;
  readonly systemd: boolean;
  readonly noPersist: boolean;
  readonly dryRun: boolean;
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export const mountCommand: Command<CliContext> = buildCommand<Flags, [string, string?], CliContext>({
  docs: {
    brief: 'Have a directory tree be where an application wants it',
    fullDescription: withExamples(
      'Mounts a directory tree on a directory that is empty or not there yet, now and at every boot: by a line in /etc/fstab, or with --systemd a mount unit. With --link it makes a symbolic link instead, which works without root and needs nothing at boot. Where it is, is recorded: list, show, rename and remove go by it, and without a directory, what is recorded is made true again.',
      'coppice mount crypt /srv/lychd',
      'coppice mount crypt /home/lychd/.local/share/lychd --link',
      'coppice mount crypt',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      link: toggle('Make a symbolic link instead of a mount'),
      systemd: toggle('Write a systemd mount unit instead of a line in fstab'),
      noPersist: toggle('Do not mount it at the next boot'),
      dryRun: toggle('Say what would happen, and change nothing'),
      fstab: optionalText('FILE', 'The fstab to write [default = /etc/fstab]', 'file'),
      unitDirectory: optionalText(
        'DIR',
        'Where to write the unit [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('VOLUME', 'A directory tree', 'entry'),
        optionalWord('DIRECTORY', 'Where it is to be; the directory above has to be there', 'directory'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, volume: string, directory?: string) => {
    const { withPool } = await import('../session.ts');
    const { link, systemd, noPersist, dryRun, fstab, unitDirectory } = flags;
    const options = {
      ...(link && { link }),
      ...(systemd && { systemd }),
      ...(noPersist && { persist: false }),
      dryRun,
      ...(fstab !== undefined && { fstab }),
      ...(unitDirectory !== undefined && { unitDirectory }),
    };
    const place = directory === undefined ? undefined : resolve(directory);
    const mounted = await withPool(context, flags, (pool) => pool.mount(volume, place, options));
    print(context, flags, mounted, () => describeMounted(mounted, dryRun));
  }),
});

export function describeMounted(
  { volume, path, how, boot, requiresMountsFor }: TreeMounted,
  dryRun: boolean,
): string {
  const done = how === 'link' ? 'linked at' : 'mounted on';
  const entry = boot && [
    dryRun
      ? `Would write to ${boot.file}:`
      : boot.changed
        ? `Wrote to ${boot.file}:`
        : `Already in ${boot.file}:`,
    ...boot.text
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
  ];
  return [
    `${volume} ${dryRun ? 'would be' : 'is'} ${done} ${path}.`,
    ...(entry ?? []),
    ...(boot?.file.endsWith('.mount') && !dryRun
      ? ['', 'Then:', `  systemctl daemon-reload && systemctl enable ${shellWord(basename(boot.file))}`]
      : []),
    '',
    'In the [Unit] section of every service that needs it:',
    `  ${requiresMountsFor}`,
  ].join('\n');
}
