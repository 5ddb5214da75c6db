import { constants } from 'node:fs';

/**
 * Whether another process could find what a step of this one has done: what only looks, locks or flushes is forgotten with a process
 * that is killed, so before and behind it the kill finds the same. Whatever is not known to be of that kind may change something.
 */
export function mayChange(name: string, subject: string, values: readonly unknown[]): boolean {
  if (name === 'openat2') return makes(Number((values[2] as Uint32Array)[0]));
  if (name === 'openSync') return makes(values[1]);
  return !harmless.has(name) && !harmless.has(`${name} ${subject}`);
}

function makes(flags: unknown): boolean {
  if (typeof flags === 'string') return !/^r[s+]*$/.test(flags);
  const { O_CREAT, O_TRUNC } = constants;
  const O_TMPFILE = 0o20000000;
  return (Number(flags ?? 0) & (O_CREAT | O_TRUNC | O_TMPFILE)) !== 0;
}

const harmless: ReadonlySet<string> = new Set([
  'fcntl',
  'fgetxattr',
  'flock',
  'fstatfs',
  'fsync',
  'fsyncSync',
  'getrandom',
  'getsockopt',
  'lgetxattr',
  'llistxattr',
  'lseek',
  'open_tree',
  'pidfd_open',
  'socket',
  'statx',
  'sync_file_range',
  'syncfs',
  'ioctl FIEMAP',
  'ioctl FS_INFO',
  'ioctl FSGEOMETRY',
  'ioctl GETFLAGS',
  'ioctl GET_FSLABEL',
  'ioctl GET_SUBVOL_INFO',
  'ioctl GET_SUBVOL_ROOTREF',
  'ioctl INO_LOOKUP_USER',
  'ioctl LOGICAL_INO_V2',
  'ioctl START_SYNC',
  'ioctl SUBVOL_GETFLAGS',
  'ioctl SUBVOL_SYNC_WAIT',
  'ioctl TREE_SEARCH_V2',
  'ioctl WAIT_SYNC',
]);
