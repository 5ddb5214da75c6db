import { lstatSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';

/**
 * Makes a directory where there is none. The one above it must be there: a path that was mistyped shall not become a tree of directories.
 * @param what names it in a sentence: `the directory for state`
 * @throws CoppiceError invalid_argument, permission_denied, no_space
 */
export function ensureDirectory(path: string, mode: number, what: string): void {
  try {
    mkdirSync(path, { mode });
    return;
  } catch (cause) {
    if (hasErrno(cause, 'ENOENT'))
      throw invalid(`There is no ${dirname(path)}, in which ${what} would be made; make it first.`, cause);
    if (hasErrno(cause, 'EACCES', 'EPERM', 'EROFS'))
      throw new CoppiceError('permission_denied', `${path}, ${what}, can't be made: ${message(cause)}.`, {
        cause,
      });
    if (hasErrno(cause, 'ENOSPC', 'EDQUOT'))
      throw new CoppiceError('no_space', `${path}, ${what}, can't be made: ${message(cause)}.`, { cause });
    if (!hasErrno(cause, 'EEXIST', 'ENOTDIR')) throw cause;
  }
  const isDirectory = unlessNoDirectory(() => lstatSync(realpathSync(path)).isDirectory()) ?? false;
  if (!isDirectory) throw invalid(`${path} is no directory, and should be ${what}.`);
}

function unlessNoDirectory<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}

function invalid(text: string, cause?: unknown): CoppiceError {
  return new CoppiceError('invalid_argument', text, { cause });
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
