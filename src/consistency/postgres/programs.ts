import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { User } from '../../linux/connect-as.ts';
import { environment } from '../../linux/programs.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';

/**
 * The directory with PostgreSQL's own programs of a major version: they are not in PATH where several are installed.
 * @param given where to look and nowhere else
 * @throws CoppiceError missing_tool
 */
export function findPrograms(version: number, given?: string): string {
  const usual = [`/usr/lib/postgresql/${version}/bin`, `/usr/pgsql-${version}/bin`];
  const candidates = given === undefined ? usual : [given];
  const found = candidates.find((directory) => hasProgram(directory, 'postgres'));
  if (found !== undefined) return found;
  throw new CoppiceError(
    'missing_tool',
    `PostgreSQL ${version} is not installed here (looked in ${candidates.join(', ')}): install it with "apt-get install postgresql-${version}".`,
  );
}

export function hasProgram(directory: string, name: string): boolean {
  try {
    accessSync(join(directory, name), constants.X_OK);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return false;
    throw error;
  }
}

/** The command that runs a program as another user, with none of our rights. */
export function commandAs({ uid, gid }: User, program: string, args: readonly string[]): [string, string[]] {
  if (process.geteuid?.() !== 0) return [program, [...args]];
  return [
    'setpriv',
    [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs', '--', program, ...args],
  ];
}

export interface Ended {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs one to its end, as the owner of the cluster. */
export async function runAs(
  user: User,
  program: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<Ended> {
  const [command, list] = commandAs(user, program, args);
  const options = { env: environment, cwd: '/', maxBuffer: 2 ** 24, ...(signal && { signal }) };
  try {
    const { stdout, stderr } = await promisify(execFile)(command, list, options);
    return { code: 0, output: stdout, errors: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code === 'number') return { code, output: stdout ?? '', errors: stderr ?? '' };
    throw error;
  }
}
