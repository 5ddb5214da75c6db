import { closeSync, openSync } from 'node:fs';
import { call, hasErrno } from '../../src/linux/system-calls.ts';
import { freeBytes } from './space.ts';

const MiB = 2 ** 20;

/** Takes all blocks that a file system has, but for `leave`, without writing them. */
export function fillUp(file: string, leave = 0): void {
  const fd = openSync(file, 'a+');
  try {
    let size = 0;
    for (let step = 256 * MiB; step >= 4096; ) {
      if (freeBytes(file) - leave < step) step /= 4;
      else {
        try {
          // Only what is new: xfs asks for as much free space as the whole range has.
          call('fallocate', file, fd, 0, size, step);
          size += step;
        } catch (error) {
          if (!hasErrno(error, 'ENOSPC')) throw error;
          step /= 4;
        }
      }
    }
  } finally {
    closeSync(fd);
  }
}
