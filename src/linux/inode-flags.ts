import { call } from './system-calls.ts';

/** What chattr(1) sets: ioctls and bits from linux/fs.h. */

const FS_IOC_GETFLAGS = 0x80086601n;
const FS_IOC_SETFLAGS = 0x40086602n;

export const inodeFlags = { immutable: 0x10, noCopyOnWrite: 0x80_0000 } as const;

const buffer = Buffer.alloc(8);

export function readInodeFlags(fd: number): number {
  buffer.fill(0);
  call('ioctl', 'GETFLAGS', fd, FS_IOC_GETFLAGS, buffer);
  return buffer.readUInt32LE(0);
}

/** @throws SystemError EPERM when one of them is not this user's to change */
export function writeInodeFlags(fd: number, flags: number): void {
  buffer.fill(0);
  buffer.writeUInt32LE(flags, 0);
  call('ioctl', 'SETFLAGS', fd, FS_IOC_SETFLAGS, buffer);
}
