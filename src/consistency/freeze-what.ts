import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readMounts } from '../linux/mounts.ts';
import { lastLine, streamProgram } from '../linux/programs.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { openTrusted } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import { type Declaration, invalidDeclaration } from './declaration.ts';
import { cgroupFreezing } from './freeze-cgroup.ts';
import { holderFreezing, treeFreezing } from './freeze-processes.ts';
import type { Freezing } from './freezing.ts';
import type { Scope } from './quiescer.ts';

export const freezeTargets = ['cgroup', 'unit', 'pid-file', 'pid', 'holders'] as const;
type TargetKind = (typeof freezeTargets)[number];

/** What is to be frozen, as it was declared. */
export interface WhatToFreeze {
  readonly kind: TargetKind;
  readonly value: string;
}

/** @throws CoppiceError invalid_argument */
export function whatToFreeze(declaration: Declaration): WhatToFreeze {
  const { name, where, fields } = declaration;
  if (where !== undefined && where !== 'holders')
    throw invalidDeclaration(name, `"${where}" is not understood; it takes holders, or one of ${targetList}`);
  const given = freezeTargets.filter((kind) => fields[kind] !== undefined);
  if (given.length + (where === undefined ? 0 : 1) > 1)
    throw invalidDeclaration(
      name,
      'it can name one thing to freeze only; declare others as quiesce.freeze.NAME',
    );
  const kind = given[0] ?? 'holders';
  const value = fields[kind] ?? '';
  const form = forms[kind];
  if (form && !form.pattern.test(value))
    throw invalidDeclaration(name, `${kind}=${value} is not ${form.what}`);
  return { kind, value };
}

const targetList = freezeTargets
  .slice(0, -1)
  .map((kind) => `${kind}=`)
  .join(', ');

const forms: Readonly<Partial<Record<TargetKind, { readonly pattern: RegExp; readonly what: string }>>> = {
  cgroup: {
    pattern: /^\/[^\0]+$/,
    what: 'an absolute path, such as /sys/fs/cgroup/system.slice/app.service',
  },
  unit: {
    pattern: /^[A-Za-z0-9][A-Za-z0-9:_.\\@-]*\.(service|scope|slice)$/,
    what: 'a unit of systemd, such as app.service',
  },
  'pid-file': { pattern: /^\/[^\0]+$/, what: 'an absolute path' },
  pid: { pattern: /^[1-9]\d{0,6}$/, what: 'the number of a process' },
};

/** Finds it. @throws CoppiceError not_found where it does not run; invalid_argument; unsupported; permission_denied */
export async function findWhatToFreeze(
  { kind, value }: WhatToFreeze,
  { subject }: Scope,
  signal: AbortSignal,
): Promise<Freezing> {
  switch (kind) {
    case 'cgroup':
      return cgroupFreezing(value);
    case 'unit':
      return cgroupFreezing(await cgroupOfUnit(value, signal));
    case 'pid':
      return treeFreezing(Number(value));
    case 'pid-file':
      return treeFreezing(processInFile(value));
    case 'holders':
      if (subject.directory !== undefined) return holderFreezing(subject.directory);
      throw new CoppiceError(
        'invalid_argument',
        `The volume ${subject.volume} is a disk, so declare what is to be frozen for it by ${targetList}; a guest is frozen by its agent.`,
      );
  }
}

async function cgroupOfUnit(unit: string, signal: AbortSignal): Promise<string> {
  const root = readMounts().find(({ type }) => type === 'cgroup2')?.mountPoint;
  if (!existsSync('/run/systemd/system') || root === undefined) {
    throw new CoppiceError(
      'unsupported',
      `The unit ${unit} can't be frozen, because this host was not started by systemd with cgroups of version 2; declare cgroup= or pid-file= instead.`,
    );
  }
  const args = ['show', '--property=ControlGroup', '--value', '--', unit];
  const { code, output, errors } = await streamProgram('systemctl', args, { signal });
  signal.throwIfAborted();
  if (code !== 0)
    throw new CoppiceError(
      'io_error',
      `systemctl could not say where the unit ${unit} is: ${lastLine(errors)}.`,
    );
  const path = output.trim();
  if (path.startsWith('/') && path !== '/') return join(root, path);
  throw new CoppiceError('not_found', `The unit ${unit} does not run, so it can't be frozen.`);
}

/** Who may write the file could name any process, so it must be root's, ours, or belong to whom the process does. */
function processInFile(path: string): number {
  using file = openTrusted(path, 'the file with the number of the process');
  const text = file.status.isFile() ? readFileSync(file.path, 'latin1') : '';
  const pid = Number(/^\s*(\d{1,7})\s*(\n|$)/.exec(text)?.[1] ?? 0);
  if (pid === 0)
    throw new CoppiceError('invalid_argument', `${path} does not begin with the number of a process.`);
  const { uid } = file.status;
  const isTrusted = uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
  const owner = ownerOf(pid);
  if ((file.status.mode & 0o022n) === 0n && (isTrusted || owner === undefined || owner === Number(uid)))
    return pid;
  throw new CoppiceError(
    'invalid_argument',
    `Refused to freeze process ${pid}, which ${path} names: others than root and the owner of the process can write to the file.`,
  );
}

function ownerOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}
