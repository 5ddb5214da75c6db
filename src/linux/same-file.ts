import { type BigIntStats, statSync } from 'node:fs';
import { hasErrno } from './system-calls.ts';

/** Whether two names mean one file or device, through links too. False when one of them is not there. */
export function isSame(a: string, b: string): boolean {
  if (a === b) return true;
  const [first, second] = [statusOf(a), statusOf(b)];
  if (!first || !second) return false;
  if (first.isBlockDevice() && second.isBlockDevice()) return first.rdev === second.rdev;
  return first.dev === second.dev && first.ino === second.ino;
}

function statusOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}
