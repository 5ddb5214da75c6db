import { constants, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';

/** One temporary directory for each process that runs tests. Its lock tells a living run from what a killed one left. */

const prefix = 'coppice-test-';
let current: { path: string; guard: Descriptor } | undefined;

export function runDirectory(): string {
  if (!current) {
    const path = mkdtempSync(join(tmpdir(), prefix));
    const guard = new Descriptor(openSync(join(path, 'lock'), constants.O_CREAT | constants.O_RDWR, 0o600));
    lock(guard.fd, 'exclusive', true);
    current = { path, guard };
    process.on('exit', removeRunDirectory);
  }
  return current.path;
}

export function removeRunDirectory(): void {
  if (!current) return;
  clear(current.path);
  current.guard[Symbol.dispose]();
  current = undefined;
}

/** Clears what earlier runs of these tests left because they were killed; touches nothing else. Returns what it cleared. */
export function clearDeadRuns(): string[] {
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith(prefix))
    .map((name) => join(tmpdir(), name))
    .filter((path) => {
      if (path === current?.path) return false;
      using guard = openLock(path);
      if (!guard || !lock(guard.fd, 'exclusive', false)) return false;
      clear(path);
      return true;
    });
}

/** Mounts, loop devices and child processes of this run that are still there, one line each. */
export function leaks(): string[] {
  if (!current) return [];
  const { path } = current;
  return [
    ...readMounts()
      .filter((mount) => mount.mountPoint.startsWith(path))
      .map((mount) => `mount ${mount.mountPoint}`),
    ...loopDevices(path).map((device) => `loop device ${device}`),
    ...childProcesses().map((child) => `process ${child}`),
  ];
}

function childProcesses(): string[] {
  const threads = readdirSync('/proc/self/task');
  const children = threads.flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  );
  return children.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return command === '' ? [] : [`${pid} ${command}`]; // without one it was killed and is only to be reaped
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

function openLock(path: string): Descriptor | undefined {
  try {
    return new Descriptor(openSync(join(path, 'lock'), 'r'));
  } catch {
    return undefined;
  }
}

function clear(path: string): void {
  for (const mount of readMounts().reverse()) {
    if (mount.mountPoint.startsWith(`${path}/`)) runProgram('umount', ['--lazy', '--', mount.mountPoint]);
  }
  for (const device of loopDevices(path)) runProgram('losetup', ['--detach', device]);
  rmSync(path, { recursive: true, force: true });
}

function loopDevices(path: string): string[] {
  return runProgram('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'])
    .split('\n')
    .filter((line) => line.includes(`${path}/`))
    .map((line) => line.trim().split(/\s+/)[0] ?? '');
}
