import { basename } from 'node:path';
import { buildCommand, type Command } from '@stricli/core';
import { shellWord } from '../../../model/shell-word.ts';
import { print, reporting } from '../../command.ts';
import {
  type CliContext,
  optionalText,
  type PoolFlags,
  poolFlags,
  poolPathArgument,
  toggle,
  withExamples,
} from '../../context.ts';

interface Flags extends PoolFlags {
  readonly systemd: boolean;
  readonly dryRun: boolean;
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export const poolPersistCommand: Command<CliContext> = buildCommand<Flags, [string?], CliContext>({
  docs: {
    brief: 'Have a pool mounted at every boot',
    fullDescription: withExamples(
      'Writes a line to /etc/fstab, or with --systemd a mount unit, so that the pool is mounted at every boot. With nofail: a pool that is missing does not stop the boot. A service that needs the pool should carry the RequiresMountsFor line that is printed.',
      'coppice pool persist',
      'coppice pool persist --systemd --dry-run',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      systemd: toggle('Write a systemd mount unit instead of a line in fstab'),
      dryRun: toggle('Print what would be written, and change nothing'),
      fstab: optionalText('FILE', 'The fstab to write [default = /etc/fstab]', 'file'),
      unitDirectory: optionalText(
        'DIR',
        'Where to write the unit [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: { kind: 'tuple', parameters: [poolPathArgument] },
  },
  func: reporting(async (context, flags: Flags, path?: string) => {
    const { persistPool } = await import('../../../engine/pools/persist.ts');
    const { poolPath } = await import('../../session.ts');
    const { systemd, dryRun, fstab, unitDirectory } = flags;
    const result = persistPool(poolPath(context, path ?? flags.pool), {
      systemd,
      dryRun,
      ...(fstab !== undefined && { fstab }),
      ...(unitDirectory !== undefined && { unitDirectory }),
    });
    print(context, flags, result, () => {
      const done = dryRun
        ? `Would write to ${result.file}:`
        : result.changed
          ? `Wrote to ${result.file}:`
          : `Already in ${result.file}:`;
      const enable =
        systemd && !dryRun
          ? [
              '',
              'Then:',
              `  systemctl daemon-reload && systemctl enable --now ${shellWord(basename(result.file))}`,
            ]
          : [];
      return [
        done,
        ...result.text
          .trimEnd()
          .split('\n')
          .map((line) => `  ${line}`),
        ...enable,
        '',
        'In the [Unit] section of every service that needs the pool:',
        `  ${result.requiresMountsFor}`,
      ].join('\n');
    });
  }),
});
