import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { type Mount, mountOf } from './mounts.ts';
import { isEnded, type RunningProcess, readProcess, readProcesses } from './processes.ts';
import { hasErrno, look, SystemError } from './system-calls.ts';

export interface FileSystemUser extends RunningProcess {
  /** What it has of the file system, as /proc shows it. */
  readonly path: string;
  readonly device: bigint;
}

/**
 * All processes that have something of the file system, or btrfs subvolume, of a directory: open, mapped, as their program, or as their
 * working or root directory; in whatever namespace, because devices are compared and not names. Not this process.
 * `complete` is false when some could not be looked into, as without root.
 */
export function findFileSystemUsers(directory: string): {
  readonly users: FileSystemUser[];
  readonly complete: boolean;
} {
  const device = statSync(directory, { bigint: true }).dev;
  return findUsersOfDevices(new Set([device]), mountOf(directory)?.fileSystem ?? '');
}

/** The device of what is mounted, from what mountinfo names it. */
export function deviceMounted({ fileSystem }: Pick<Mount, 'fileSystem'>): bigint {
  const [major = 0, minor = 0] = fileSystem.split(':').map(Number);
  return deviceNumber(major, minor);
}

/**
 * The same of several devices, in one pass over /proc.
 * @param fileSystem that they are in, as mountinfo names it
 */
export function findUsersOfDevices(
  devices: ReadonlySet<bigint>,
  fileSystem: string,
  others: 'without us' | 'and us' = 'without us',
): { readonly users: FileSystemUser[]; readonly complete: boolean } {
  const mapped = deviceInMaps(fileSystem);
  let complete = true;
  const users = readProcesses().flatMap((found): FileSystemUser[] => {
    if (found.isKernelThread || (found.pid === process.pid && others === 'without us')) return [];
    try {
      const use = useOf(found.pid, devices, mapped);
      return use ? [{ ...found, ...use }] : [];
    } catch (error) {
      // The first one is never the application, and in a container may be out of sight.
      if (hasErrno(error, 'EACCES', 'EPERM')) complete &&= found.pid === 1;
      else if (!hasErrno(error, 'ENOENT', 'ESRCH')) throw error; // it has ended meanwhile
      return [];
    }
  });
  return { users, complete };
}

type Use = Pick<FileSystemUser, 'path' | 'device'>;

function useOf(pid: number, devices: ReadonlySet<bigint>, mapped: string): Use | undefined {
  const root = usableDirectory(pid);
  if (root === undefined) return undefined;
  const descriptors = readdirSync(`${root}/fd`).map((name) => `${root}/fd/${name}`);
  for (const link of ['cwd', 'root', 'exe'].map((name) => `${root}/${name}`).concat(descriptors)) {
    const device = deviceOf(link);
    if (device !== undefined && devices.has(device)) return { path: readlinkSync(link), device };
  }
  return mappingOn(root, `/proc/${pid}`, devices, mapped);
}

/** Where a process's first thread has ended, the others have what is open; where all have, nobody has anything. */
function usableDirectory(pid: number): string | undefined {
  const first = readProcess(pid);
  if (!first) return undefined;
  if (!isEnded(first)) return `/proc/${pid}`;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const directory = `/proc/${pid}/task/${thread}`;
    const state = /\) (.)/.exec(readFileSync(`${directory}/stat`, 'latin1'))?.[1];
    if (state !== undefined && !'ZXx'.includes(state)) return directory;
  }
  return undefined;
}

/**
 * The table of mappings shows the device of the whole file system where btrfs shows everywhere else that of the subvolume, so each that
 * could be meant is looked at by its link.
 */
function mappingOn(
  root: string,
  process: string,
  devices: ReadonlySet<bigint>,
  mapped: string,
): Use | undefined {
  for (const line of readFileSync(`${root}/maps`, 'latin1').split('\n')) {
    const [range, , , lineDevice] = line.split(' ', 4);
    if (lineDevice !== mapped || range === undefined) continue;
    const link = `${process}/map_files/${withoutZeros(range)}`;
    const device = deviceOf(link);
    if (device !== undefined && devices.has(device)) return { path: readlinkSync(link), device };
  }
  return undefined;
}

function withoutZeros(range: string): string {
  return range
    .split('-')
    .map((address) => BigInt(`0x${address}`).toString(16))
    .join('-');
}

/** `MAJOR:MINOR` as the table of mappings writes it. */
function deviceInMaps(fileSystem: string): string {
  const [major = 0, minor = 0] = fileSystem.split(':').map(Number);
  return [major, minor].map((number) => number.toString(16).padStart(2, '0')).join(':');
}

const AT_FDCWD = -100;
const AT_STATX_DONT_SYNC = 0x4000;
const status = new Uint32Array(64);

/**
 * Asks for the device alone: then the kernel asks no server, such as that of a FUSE file system, which may hang, or be one of those
 * that are stopped already.
 */
function deviceOf(link: string): bigint | undefined {
  const result = look('statx', AT_FDCWD, link, AT_STATX_DONT_SYNC, 0, status);
  const { EACCES, EPERM } = constants.errno;
  if (result === -EACCES || result === -EPERM) throw new SystemError(-result, 'statx', link);
  const [major = 0, minor = 0] = status.subarray(34, 36);
  return result === 0 ? deviceNumber(major, minor) : undefined;
}

/** As stat(2) puts it together, from linux/kdev_t.h. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & ~0xfffn) << 32n) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | (low & 0xffn);
}
