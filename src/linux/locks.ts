import { call, hasErrno } from './system-calls.ts';

export type LockMode = 'shared' | 'exclusive';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

/**
 * The kernel's advisory lock on an open file description: other processes and other descriptors of this one respect it, and it
 * is gone with its holder. Returns false when somebody else has it and `wait` is false.
 */
export function lock(fd: number, mode: LockMode, wait: boolean): boolean {
  const operation = mode === 'shared' ? LOCK_SH : LOCK_EX;
  try {
    call('flock', mode, fd, wait ? operation : operation | LOCK_NB);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EWOULDBLOCK', 'EAGAIN')) return false;
    throw error;
  }
}

/** Gives it back, also for other processes that have got the same open file description. */
export function unlock(fd: number): void {
  call('flock', 'unlock', fd, LOCK_UN);
}
