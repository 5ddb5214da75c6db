import { buildCommand, type Command } from '@stricli/core';
import type { Diagnosis } from '../../engine/doctor/doctor.ts';
import type { DoctorFinding } from '../../engine/doctor/finding.ts';
import { printable } from '../../model/printable.ts';
import { print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  optionalWord,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
} from '../context.ts';
import { counted } from '../table.ts';

interface Flags extends PoolFlags {
  readonly all: boolean;
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export const doctorCommand: Command<CliContext> = buildCommand<Flags, [string?], CliContext>({
  docs: {
    brief: 'Look at the host, and at a pool or a place for one: what is wrong, what to do',
    fullDescription: withExamples(
      'Looks at the kernel, the programs, the file system and what is left over, tries what pools need in a place of its own, and says what to do. PATH may be a pool, a directory, or nothing yet. Changes nothing that lasts. Exits with 0 when all is well, with 10 when there are warnings, with 11 when there are errors.',
      'coppice doctor',
      'coppice doctor /data --all',
      'coppice doctor --json',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      all: toggle('Show what is fine, too'),
      fstab: optionalText('FILE', 'The fstab to look at [default = /etc/fstab]', 'file'),
      unitDirectory: optionalText(
        'DIR',
        'Where to look for mount units [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        optionalWord(
          'PATH',
          'A pool, or a directory for one [default = $COPPICE_POOL, else /var/lib/coppice]',
          'directory',
        ),
      ],
    },
    aliases: { a: 'all' },
  },
  func: reporting(async (context, flags: Flags, path?: string) => {
    const { doctor } = await import('../../engine/doctor/doctor.ts');
    const { poolPath } = await import('../session.ts');
    const { fstab, unitDirectory } = flags;
    const diagnosis = await doctor(poolPath(context, path ?? flags.pool), {
      ...(fstab !== undefined && { fstab }),
      ...(unitDirectory !== undefined && { unitDirectory }),
    });
    print(context, flags, diagnosis, () => report(diagnosis, flags.all));
    const has = (severity: string): boolean =>
      diagnosis.findings.some((finding) => finding.severity === severity);
    if (has('error')) context.process.exitCode = 11;
    else if (has('warning')) context.process.exitCode = 10;
  }),
});

const titles: Readonly<Record<string, string>> = {
  place: 'Place',
  pool: 'Pool',
  probe: 'Tried out',
  reflink: 'Tried out',
  btrfs: 'File system',
  xfs: 'File system',
  space: 'Space',
  boot: 'At boot',
  leftovers: 'Leftovers',
  rights: 'Rights',
  kernel: 'Kernel and Node',
  loop: 'Programs and devices',
  tools: 'Programs and devices',
};

/** What was found, topic by topic, and how much of it there is. */
function report({ findings }: Diagnosis, all: boolean): string {
  const shown = all ? findings : findings.filter((finding) => finding.severity !== 'ok');
  const groups = Map.groupBy(shown, ({ id }) => titles[id.split('.')[0] ?? ''] ?? 'Other');
  const parts = [...groups].map(([title, group]) => [title, ...group.map(paragraph)].join('\n'));
  return [...parts, summary(findings, all)].join('\n\n');
}

function paragraph({ severity, message, remedy }: DoctorFinding): string {
  const lines = [`  ${severity}: ${message}`, ...(remedy === undefined ? [] : [`    To do: ${remedy}`])];
  return lines.map(printable).join('\n');
}

function summary(findings: readonly DoctorFinding[], all: boolean): string {
  const count = (severity: string): number => findings.filter((each) => each.severity === severity).length;
  const [errors, warnings, fine] = [count('error'), count('warning'), count('ok')];
  const state =
    errors + warnings === 0
      ? 'All is well'
      : [errors > 0 && counted(errors, 'error'), warnings > 0 && counted(warnings, 'warning')]
          .filter(Boolean)
          .join(', ');
  return `${state}; ${counted(fine, 'check')} passed${all ? '' : ' (--all shows them)'}.`;
}
