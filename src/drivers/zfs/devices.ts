import { realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { hasErrno } from '../../linux/libc.ts';
import { isSame } from '../../linux/same-file.ts';
import { runZfs } from './command.ts';

/**
 * Whether a device or file is part of a zpool, under the names of today: a boot may have given those that it was made with to other
 * disks. Of a whole disk ZFS uses a partition that it has made.
 */
export function liesOnDevice(zpool: string, device: string): boolean {
  const lines = runZfs('zpool', ['list', '-vHPL', '-o', 'name', zpool]).split('\n');
  const parts = lines
    .map((line) => line.trim().split('\t', 1)[0] ?? '')
    .filter((name) => name.startsWith('/'));
  return parts.some((part) => isSame(part, device) || isSame(diskOf(part), device));
}

/** The disk that a partition is on; itself for anything else. */
function diskOf(part: string): string {
  try {
    const disk = basename(dirname(realpathSync(`/sys/class/block/${basename(part)}`)));
    return part.startsWith('/dev/') && disk !== 'block' ? `/dev/${disk}` : part;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return part;
    throw error;
  }
}
