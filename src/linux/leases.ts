import { attempt } from './system-calls.ts';

const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const SIGURG = 23;

/**
 * Whether anybody else has an open file open too, in any way: another process or namespace, a loop device, a mapping. The kernel
 * grants a write lease only to a file that nobody else has open (fcntl(2)), so this sees what a look through /proc can't, and
 * takes microseconds. Undefined when the kernel won't say: the file belongs to another user and we are not root.
 */
export function isOpenElsewhere(fd: number): boolean | undefined {
  return isRefused(fd, F_WRLCK);
}

/**
 * Whether anybody has a file open for writing: to such a file the kernel grants no read lease.
 * @param fd must be open for reading only
 */
export function isOpenForWriting(fd: number): boolean | undefined {
  return isRefused(fd, F_RDLCK);
}

/** Asks for a lease, and gives it back at once. */
function isRefused(fd: number, type: number): boolean | undefined {
  // Who opens the file in this instant has the lease broken, which sends us a signal; SIGIO would end the process, SIGURG is ignored.
  attempt('fcntl', 'signal', fd, F_SETSIG, SIGURG);
  const result = attempt('fcntl', 'lease', fd, F_SETLEASE, type);
  if (result >= 0) {
    attempt('fcntl', 'lease', fd, F_SETLEASE, F_UNLCK);
    return false;
  }
  const EAGAIN = 11;
  return result === -EAGAIN ? true : undefined;
}
