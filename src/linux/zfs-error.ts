import { getSystemErrorName } from 'node:util';

/** A failure of ZFS; `code` is the errno's name. Some of its errors have numbers that Linux does not name. */
export class ZfsError extends Error {
  readonly code: string;
  readonly syscall: string;
  /** The errno of each thing that failed, by its name. */
  readonly each: Readonly<Record<string, string>>;

  constructor(
    errno: number,
    step: string,
    subject: string,
    each: Readonly<Record<string, string>> = {},
    why = '',
  ) {
    const code = nameOf(errno);
    super(`ZFS could not ${step} ${subject}: ${code}${why && ` (${why})`}`);
    this.name = 'ZfsError';
    this.code = code;
    this.syscall = step;
    this.each = each;
  }
}

/** Node does not know the one that ZFS gives for a channel program that failed. */
const ECHRNG = 44;

/** The name of an errno. */
export function nameOf(errno: number): string {
  return errno === ECHRNG ? 'ECHRNG' : getSystemErrorName(-errno);
}

/** The failure of a call, which is refused by EAGAIN where all of its pool stands still. */
export function failed(errno: number, step: string, subject: string, each = {}, why = ''): ZfsError {
  const EAGAIN = 11;
  const suspended = 'the pool is suspended; "zpool status" says why, and "zpool clear" makes it go on';
  return new ZfsError(errno, step, subject, each, errno === EAGAIN ? suspended : why);
}
