import {
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Descriptor } from '../../src/linux/files.ts';
import { findUsersBelow } from '../../src/linux/holders.ts';
import { lock } from '../../src/linux/locks.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { commandOf, end, markedProcesses } from './marks.ts';

/** One temporary directory for each process that runs tests. Its lock tells a living run from what a killed one left. */

const prefix = 'coppice-test-';
const lockName = 'lock';
let current: { path: string; guard: Descriptor } | undefined;

export function runDirectory(): string {
  if (!current) {
    current = makeRunDirectory();
    process.on('exit', removeRunDirectory);
  }
  return current.path;
}

/** Between its making and its locking, another run may take a directory for a dead one's and clear it: then another is made. */
function makeRunDirectory(): { path: string; guard: Descriptor } {
  for (;;) {
    const path = mkdtempSync(join(tmpdir(), prefix));
    const guard = openLock(path, constants.O_CREAT | constants.O_RDWR);
    if (!guard) continue;
    lock(guard.fd, 'exclusive', true);
    if (fstatSync(guard.fd).nlink > 0) return { path, guard };
    guard[Symbol.dispose]();
  }
}

export function removeRunDirectory(): void {
  if (!current) return;
  clear(current.path);
  current.guard[Symbol.dispose]();
  current = undefined;
  process.off('exit', removeRunDirectory);
}

/** Clears what earlier runs of these tests left because they were killed; touches nothing else. Returns what it cleared. */
export function clearDeadRuns(): string[] {
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith(prefix))
    .map((name) => join(tmpdir(), name))
    .filter((path) => {
      if (path === current?.path) return false;
      using guard = openLock(path, constants.O_RDONLY);
      if (!guard) return removeEmpty(path);
      if (!lock(guard.fd, 'exclusive', false)) return false;
      if (fstatSync(guard.fd).nlink === 0) return false; // another run has cleared it
      clear(path);
      return true;
    });
}

/** Mounts, loop devices and processes of this run that are still there, one line each. */
export function leaks(): string[] {
  return [...(current ? leaksIn(current.path) : []), ...processesLeft().map(({ line }) => line)];
}

function leaksIn(path: string): string[] {
  return [
    ...readMounts()
      .filter((mount) => mount.mountPoint.startsWith(path))
      .map((mount) => `mount ${mount.mountPoint}`),
    ...loopDevices(path).map((device) => `loop device ${device}`),
    ...serversBelow(path).map(({ pid, command }) => `server ${pid} ${command}`),
  ];
}

export function endProcessesLeft(): void {
  for (const { pid } of processesLeft()) end(pid);
}

/** The children of this process, and what has its mark, whoever is its parent by now. */
function processesLeft(): Array<{ readonly pid: number; readonly line: string }> {
  const threads = readdirSync('/proc/self/task');
  const children = threads.flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  );
  const pids = new Set([...children.map(Number), ...markedProcesses().map(({ pid }) => pid)]);
  return [...pids].flatMap((pid) => {
    const command = commandOf(pid);
    return command === '' ? [] : [{ pid, line: `process ${pid} ${command}` }];
  });
}

function openLock(path: string, flags: number): Descriptor | undefined {
  try {
    return new Descriptor(openSync(join(path, lockName), flags, 0o600));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** What was killed before it had a lock has nothing else in it either. */
function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTEMPTY', 'ENOTDIR')) return false;
    throw error;
  }
}

/** Servers of databases that work in a directory: they outlive who has started them. Nobody's shell is among them. */
function serversBelow(path: string): Array<{ readonly pid: number; readonly command: string }> {
  return findUsersBelow(path, new Set()).flatMap(({ pid, command }) => {
    const isServer = /^(\S*\/)?(postgres|redis-server|mariadbd)\b/.test(command);
    return isServer && pid !== undefined ? [{ pid, command }] : [];
  });
}

function clear(path: string): void {
  for (const { pid } of serversBelow(path)) end(pid);
  for (const mount of readMounts().reverse()) {
    if (mount.mountPoint.startsWith(`${path}/`)) runProgram('umount', ['--lazy', '--', mount.mountPoint]);
  }
  for (const device of loopDevices(path)) runProgram('losetup', ['--detach', device]);
  // The lock goes last: without it, what is left by a clearing that is ended half way would be taken for nobody's.
  for (const name of readdirSync(path).filter((name) => name !== lockName)) {
    rmSync(join(path, name), { recursive: true, force: true });
  }
  rmSync(path, { recursive: true, force: true });
}

function loopDevices(path: string): string[] {
  return runProgram('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'])
    .split('\n')
    .filter((line) => line.includes(`${path}/`))
    .map((line) => line.trim().split(/\s+/)[0] ?? '');
}
