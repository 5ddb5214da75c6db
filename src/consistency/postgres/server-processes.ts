import { readdirSync, readFileSync, statSync } from 'node:fs';
import { hasErrno } from '../../linux/system-calls.ts';
import type { DataDirectory } from './data-directory.ts';

/**
 * The processes of a server work in its data directory (it is their current one): those in containers too, whose numbers and
 * paths mean nothing here.
 * @returns `complete` is false when some could not be looked at, as without root
 */
export function serverProcesses(directory: DataDirectory): {
  readonly pids: readonly number[];
  readonly complete: boolean;
} {
  let complete = true;
  const pids = readdirSync('/proc').filter((pid) => {
    // Somebody's shell may be there as well; and what can't be looked into is mostly something else.
    if (!/^\d+$/.test(pid) || !isPostgres(pid)) return false;
    const works = worksIn(Number(pid), directory);
    if (works === undefined) complete = false;
    return works === true;
  });
  return { pids: pids.map(Number), complete };
}

/** Undefined where that can't be seen. */
export function worksIn(pid: number, { fd }: DataDirectory): boolean | undefined {
  try {
    const [theirs, ours] = [`/proc/${pid}/cwd`, `/proc/self/fd/${fd}`].map((path) =>
      statSync(path, { bigint: true }),
    );
    return theirs?.dev === ours?.dev && theirs?.ino === ours?.ino;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return false;
    if (hasErrno(error, 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

function isPostgres(pid: string): boolean {
  try {
    return /post(gres|master)/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return false;
    throw error;
  }
}
