import { existsSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { closingOnFailure, Descriptor } from './files.ts';
import { loopBackingFile } from './mounts.ts';
import { call, hasErrno } from './system-calls.ts';

/** Loop devices: numbers and offsets from linux/loop.h. */

export interface LoopFile {
  readonly device: bigint;
  readonly inode: bigint;
}

/** Which file is attached to a loop device, whatever its name is by now; undefined when none is, or nothing may be seen. */
export function fileUnderLoop(device: string): LoopFile | undefined {
  const LOOP_GET_STATUS64 = 0x4c05n;
  if (!existsSync(`/sys/block/${device.slice('/dev/'.length)}/loop/backing_file`)) return undefined;
  try {
    using loop = new Descriptor(openSync(device, 'r'));
    const info = Buffer.alloc(232);
    call('ioctl', device, loop.fd, LOOP_GET_STATUS64, info);
    return { device: info.readBigUInt64LE(0), inode: info.readBigUInt64LE(8) };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENXIO', 'EACCES')) return undefined; // detached meanwhile
    throw error;
  }
}

/**
 * Has each loop device whose file this is take over the size that the file has now. Devices of other files, also of a deleted one
 * that had the same name, are left as they are. Returns their paths; one that we may not open is not among them.
 */
export function refreshLoopDevices({ device, inode }: LoopFile): string[] {
  const LOOP_SET_CAPACITY = 0x4c07n;
  const names = readdirSync('/sys/block').filter((name) => /^loop\d+$/.test(name));
  return names
    .map((name) => `/dev/${name}`)
    .filter((path) => {
      const file = fileUnderLoop(path);
      if (file?.device !== device || file.inode !== inode) return false;
      try {
        using loop = new Descriptor(openSync(path, 'r'));
        call('ioctlValue', path, loop.fd, LOOP_SET_CAPACITY, 0);
        return true;
      } catch (error) {
        if (hasErrno(error, 'ENOENT', 'ENXIO')) return false; // detached meanwhile
        throw error;
      }
    });
}

/** Attaches a file read-only to a loop device of its own, which is gone when the device is no longer open. */
export function attachReadOnly(file: number): LoopDevice {
  const LOOP_CTL_GET_FREE = 0x4c82n;
  const LOOP_SET_FD = 0x4c00n;
  const LOOP_SET_STATUS64 = 0x4c04n;
  const LO_FLAGS_AUTOCLEAR = 4;
  using control = new Descriptor(openSync('/dev/loop-control', 'r+'));
  using readable = new Descriptor(openSync(`/proc/self/fd/${file}`, 'r'));
  for (;;) {
    const path = `/dev/loop${call('ioctlValue', 'loop-control', control.fd, LOOP_CTL_GET_FREE, 0)}`;
    const opened = new Descriptor(openSync(path, 'r'));
    try {
      call('ioctlValue', path, opened.fd, LOOP_SET_FD, readable.fd);
    } catch (error) {
      opened[Symbol.dispose]();
      if (hasErrno(error, 'EBUSY')) continue; // somebody else has taken it meanwhile
      throw error;
    }
    const info = Buffer.alloc(232);
    info.writeUInt32LE(LO_FLAGS_AUTOCLEAR, 52);
    closingOnFailure(opened, () => call('ioctl', path, opened.fd, LOOP_SET_STATUS64, info));
    return { path, [Symbol.dispose]: () => opened[Symbol.dispose]() };
  }
}

/**
 * Gives a loop device a scheduler that merges neighbouring requests; the kernel gives it none. The kernel leaves it at the device's
 * number when the file is detached. One that somebody has chosen stays.
 * @throws where the kernel can't
 */
export function mergeRequests(device: string): void {
  const scheduler = `/sys/block/${device.slice('/dev/'.length)}/queue/scheduler`;
  const schedulers = readFileSync(scheduler, 'utf8');
  if (schedulers.includes('[none]') && schedulers.includes('mq-deadline'))
    writeFileSync(scheduler, 'mq-deadline');
}

/**
 * Has a loop device read and write its file without the page cache, where everything would be a second time, until it is detached.
 * What is dirty in the cache is written first.
 * @throws where the kernel, or the file's file system, can't
 */
export function goPastPageCache(device: string): void {
  const LOOP_SET_DIRECT_IO = 0x4c08n;
  if (isPastPageCache(device)) return;
  using loop = new Descriptor(openSync(device, 'r'));
  call('ioctlValue', device, loop.fd, LOOP_SET_DIRECT_IO, 1);
}

export function isPastPageCache(device: string): boolean {
  return readFileSync(`/sys/block/${device.slice('/dev/'.length)}/loop/dio`, 'utf8').trim() === '1';
}

export interface LoopDevice extends Disposable {
  readonly path: string;
}

/** What the kernel adds to the name of a file that has been deleted. */
const deletedSuffix = ' (deleted)';

export type LoopFileState = 'there' | 'deleted' | 'unseen';

/**
 * The file under a loop device as it is called now: the kernel follows renames. `unseen` when that name leads nowhere or to
 * another file, as when it lies in another mount namespace or under a mount.
 */
export function presentFile(
  device: string,
): { readonly path: string; readonly state: LoopFileState } | undefined {
  const name = loopBackingFile(device);
  if (name === undefined) return undefined;
  const attached = fileUnderLoop(device);
  const status = statSync(name, { bigint: true, throwIfNoEntry: false });
  if (status && status.dev === attached?.device && status.ino === attached.inode)
    return { path: name, state: 'there' };
  return name.endsWith(deletedSuffix)
    ? { path: name.slice(0, -deletedSuffix.length), state: 'deleted' }
    : { path: name, state: 'unseen' };
}
