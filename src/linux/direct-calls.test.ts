import { closeSync, constants as modes, openSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { afterAll, expect, test } from 'vitest';
import { scratchDirectory } from '../../test/support/devices.ts';
import { type SystemCallName, systemCall } from './direct-calls.ts';
import { attempt } from './system-calls.ts';

/** The kernel's own answer is told, and the same as by the C library. */

const AT_FDCWD = -100;
const directory = scratchDirectory('calls');
const opened = openSync(directory, modes.O_RDONLY | modes.O_DIRECTORY);
afterAll(() => closeSync(opened));

test('an error is the one of the call, whatever is in errno when that could be read', () => {
  const { EAGAIN, EEXIST } = constants.errno;
  const koffi = createRequire(import.meta.url)('koffi') as { errno: () => number };
  const { errno } = koffi;
  koffi.errno = () => EAGAIN;
  try {
    expect(attempt('mkdirat', directory, AT_FDCWD, directory, 0o700)).toBe(-EEXIST);
  } finally {
    koffi.errno = errno;
  }
});

const text = '/proc/self/status';
/** What follows a link finds nothing there. */
const dangling = `${directory}/link`;
symlinkSync('none', dangling);
const calls: ReadonlyArray<readonly [name: SystemCallName, ...values: unknown[]]> = [
  ['close', -1],
  ['connect', -1, Buffer.alloc(4), 4],
  ['setresgid', 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
  ['setresuid', 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
  ['mkdirat', AT_FDCWD, directory, 0o700],
  ['unlinkat', AT_FDCWD, directory, 0],
  ['renameat2', AT_FDCWD, directory, AT_FDCWD, '/proc/x', 1],
  ['linkat', AT_FDCWD, directory, AT_FDCWD, '/proc/x', 0],
  ['openat2', AT_FDCWD, `${directory}/none`, Buffer.alloc(24), 24],
  ['openat2', AT_FDCWD, directory, Buffer.alloc(24), 23],
  ['statx', AT_FDCWD, text, 0, 0x7ff, Buffer.alloc(256)],
  ['statx', AT_FDCWD, `${directory}/none`, 0, 0x7ff, Buffer.alloc(256)],
  ['lgetxattr', directory, 'user.none', Buffer.alloc(8), 8],
  ['llistxattr', directory, Buffer.alloc(256), 256],
  ['llistxattr', dangling, Buffer.alloc(256), 256],
  ['lsetxattr', text, 'user.none', 'x', 1, 0],
  ['llistxattr', `${directory}/none`, Buffer.alloc(8), 8],
  ['lseek', 0, 0, 99],
  ['symlinkat', '/none', AT_FDCWD, directory],
  ['fchown', -1, 0, 0],
  ['fchmod', -1, 0],
  ['ioctl', 1, 0x1234, Buffer.alloc(8)],
  ['ioctlValue', 1, 0x1234, 1],
  ['fcntl', -1, 1, 0],
  ['fallocate', -1, 0, 0, 1],
  ['umount2', directory, 8],
  ['open_tree', AT_FDCWD, `${directory}/none`, 1],
  ['move_mount', -1, '', AT_FDCWD, directory, 4],
  ['mount_setattr', -1, '', 0x1000, new BigUint64Array(4), 32],
  ['getrandom', Buffer.alloc(8), 8, 0],
  ['getrandom', Buffer.alloc(8), 8, 0xff],
  ['sendto', -1, Buffer.alloc(1), 1, 0, null, 0],
  ['socket', -1, -1, -1],
  ['utimensat', opened, '', null, 0x1000],
  ['utimensat', -1, '', null, 0x1000],
  ['fsopen', 'no-such-file-system', 1],
  ['fsconfig', -1, 6, null, null, 0],
];

test.each(calls.map(([name, ...values]) => ({ name, values })))(
  '$name answers as by the C library',
  ({ name, values }) => {
    const [direct, library] = [systemCall(name), systemCall(name, false)];
    const answer = Number(direct.run(direct.number, ...values));
    expect(answer).toBe(Number(library.run(library.number, ...values)));
    expect(answer).not.toBe(-constants.errno.ENOSYS);
  },
);
