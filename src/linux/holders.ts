import { type BigIntStats, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { printable } from '../model/printable.ts';
import { fileUnderLoop } from './loops.ts';
import { loopBackingFile } from './mounts.ts';
import { hasErrno } from './system-calls.ts';

/** A file to look for: device and inode as stat(2) gives them. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly path: string;
}

export interface FoundHolder {
  readonly pid?: number;
  readonly command: string;
  readonly path: string;
}

/**
 * Who has one of these files open: processes by their descriptors, loop devices by their backing file. One pass over /proc for
 * all files. `complete` is false when some processes could not be looked into, as without root.
 */
export function findHolders(files: readonly FileIdentity[]): { holders: FoundHolder[]; complete: boolean } {
  const wanted = new Map(files.map((file) => [`${file.device}:${file.inode}`, file.path]));
  const { holders, complete } = findUsers(({ dev, ino }) => wanted.get(`${dev}:${ino}`));
  return { holders: [...loopDevicesOn(wanted), ...holders], complete };
}

/**
 * The same for block devices, by their number: whatever name of it somebody has opened. udev, and the programs that it runs, look at
 * each new device for a moment, which is no use of it.
 * @param wanted the path to name for each number
 */
export function findDeviceHolders(wanted: ReadonlyMap<bigint, string>): {
  holders: FoundHolder[];
  complete: boolean;
} {
  const pathOf = (status: BigIntStats): string | undefined =>
    status.isBlockDevice() ? wanted.get(status.rdev) : undefined;
  const loops = loopNames().flatMap((name): FoundHolder[] => {
    const file = loopBackingFile(`/dev/${name}`);
    const status = file && statSync(file, { bigint: true, throwIfNoEntry: false });
    const path = status && pathOf(status);
    return path ? [{ command: `loop device /dev/${name}`, path }] : [];
  });
  const { holders: users, complete } = findUsers(pathOf);
  return { holders: [...loops, ...users.filter(({ pid }) => !isOfUdev(String(pid)))], complete };
}

/** Whether it is udev, or has been started by it. */
function isOfUdev(pid: string): boolean {
  try {
    for (let each = pid; Number(each) > 1; each = parentOf(each)) {
      if (/^(\S*\/)?(systemd-)?udevd( |$)|^\(udev-worker\)/.test(commandOf(each))) return true;
    }
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ESRCH')) throw error;
    // It has ended meanwhile, or who started it; who asks sees by whether the device is still open that he must ask again.
    return true;
  }
  return false;
}

function parentOf(pid: string): string {
  return /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
}

function findUsers(pathOf: (status: BigIntStats) => string | undefined): {
  holders: FoundHolder[];
  complete: boolean;
} {
  const holders: FoundHolder[] = [];
  let complete = true;
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const path = openFileOf(pid, pathOf);
      if (path) holders.push({ pid: Number(pid), command: commandOf(pid), path });
    } catch (error) {
      if (hasErrno(error, 'EACCES', 'EPERM')) complete = false;
      else if (!hasErrno(error, 'ENOENT', 'ESRCH')) throw error; // the process has ended meanwhile
    }
  }
  return { holders, complete };
}

/** Processes that keep a mount busy by something at or below a path: a file, a working directory, a program. Not this one. */
export function findUsersBelow(path: string, except: ReadonlySet<string>): FoundHolder[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const used = linksOf(pid).find(
        (link) => (link === path || link.startsWith(`${path}/`)) && !except.has(link),
      );
      return used === undefined ? [] : [{ pid: Number(pid), command: commandOf(pid), path: used }];
    } catch (error) {
      if (hasErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return []; // it has ended meanwhile, or can't be looked into
      throw error;
    }
  });
}

function linksOf(pid: string): string[] {
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((descriptor) => `fd/${descriptor}`);
  return ['cwd', 'root', 'exe', ...descriptors].flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/${name}`)];
    } catch (error) {
      if (hasErrno(error, 'ENOENT', 'ESRCH')) return []; // closed meanwhile, or a thread of the kernel
      throw error;
    }
  });
}

function openFileOf(pid: string, pathOf: (status: BigIntStats) => string | undefined): string | undefined {
  const directory = `/proc/${pid}/fd`;
  for (const descriptor of readdirSync(directory)) {
    try {
      // Only paths can be our file; sockets, pipes and anonymous inodes are most of what a host has open.
      if (!readlinkSync(`${directory}/${descriptor}`).startsWith('/')) continue;
      const path = pathOf(statSync(`${directory}/${descriptor}`, { bigint: true }));
      if (path) return path;
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'ESRCH')) throw error; // closed meanwhile
    }
  }
  return undefined;
}

/** What it was started as, on one line; its name where it has none, or has ended. */
export function commandOf(pid: string | number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
  const text = words.length > 0 ? words.join(' ') : readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  // Anybody can call his process anything, and a program that is given as an argument has lines.
  return printable(text.replaceAll(/\s+/g, ' ')).slice(0, 120);
}

/** Loop devices whose backing file lies on one of these devices. */
export function loopsOnDevices(wanted: ReadonlyMap<bigint, string>): FoundHolder[] {
  return loopNames().flatMap((name) => {
    const file = fileUnderLoop(`/dev/${name}`);
    const path = file && wanted.get(file.device);
    return path === undefined ? [] : [{ command: `loop device /dev/${name}`, path }];
  });
}

function loopNames(): string[] {
  return readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
}

function loopDevicesOn(wanted: ReadonlyMap<string, string>): FoundHolder[] {
  const found: FoundHolder[] = [];
  for (const name of loopNames()) {
    const file = fileUnderLoop(`/dev/${name}`);
    const path = file && wanted.get(`${file.device}:${file.inode}`);
    if (path) found.push({ command: `loop device /dev/${name}`, path });
  }
  return found;
}
