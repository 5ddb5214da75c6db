import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { statusIfAny } from '../../linux/file-status.ts';
import { openDirectoryIfAny, removeFileAt } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { CoppiceError } from '../../model/errors.ts';
import { mark } from './copy-settings.ts';
import { openDataDirectory, pathBelow, readBelow } from './data-directory.ts';
import { makeSafe, type SafeOptions } from './make-safe.ts';
import { serverOf } from './open-session.ts';
import { findPrograms, runAs } from './programs.ts';
import { serverProcesses } from './server-processes.ts';

export interface Started {
  readonly version: number;
  readonly log: string;
}

/**
 * Starts a server on a copy of a cluster that has been made safe, which goes on running: until it is stopped, or `endServers`.
 * @throws CoppiceError damaged when it does not start, missing_tool
 */
export async function startServer(
  copy: string,
  options: SafeOptions,
  signal?: AbortSignal,
): Promise<Started> {
  await makeSafe(copy, options);
  return await launchServer(copy, options, signal);
}

/**
 * The same of one that has been made safe before. What its user has set since stays as it is; only where it has got another place since is it
 * made safe anew.
 * @throws CoppiceError damaged when it does not start, busy when it runs, missing_tool
 */
export async function restartServer(
  copy: string,
  options: SafeOptions,
  signal?: AbortSignal,
): Promise<Started> {
  if (!isMadeSafeFor(copy, options)) return await startServer(copy, options, signal);
  {
    using directory = openDataDirectory(copy, options.below);
    const [pid] = serverProcesses(directory).pids;
    if (pid !== undefined)
      throw new CoppiceError('busy', `${serverOf(directory)} runs already (process ${pid}).`);
    // The number in it may be anybody's by now.
    if (statusIfAny(directory.fd, 'postmaster.pid')) removeFileAt(directory.fd, 'postmaster.pid');
    removeSockets(copy, options.socketDirectory);
  }
  return await launchServer(copy, options, signal);
}

/** The tree belongs to whoever the server runs as: no link in it is followed. */
function removeSockets(copy: string, socketDirectory: string): void {
  using root = openDirectory(copy);
  const opened = openDirectoryIfAny(root.fd, relative(copy, socketDirectory));
  if (!opened) return;
  using directory = opened;
  for (const name of readdirSync(pathBelow(directory.fd, '.')))
    if (name.startsWith('.s.PGSQL.')) removeFileAt(directory.fd, name);
}

function isMadeSafeFor(copy: string, { below, socketDirectory }: SafeOptions): boolean {
  using directory = openDataDirectory(copy, below);
  const settings = readBelow(directory.fd, 'postgresql.conf', longestSettings)?.toString('utf8') ?? '';
  return settings.startsWith(mark) && settings.includes(`'${socketDirectory}'`);
}

/** Bytes; those that are generated are far shorter. */
const longestSettings = 64 * 1024;

async function launchServer(
  copy: string,
  options: Pick<SafeOptions, 'below' | 'programs'>,
  signal?: AbortSignal,
): Promise<Started> {
  using directory = openDataDirectory(copy, options.below);
  const { path, owner, version } = directory;
  const log = join(path, 'coppice-branch.log');
  const program = join(findPrograms(version, options.programs), 'pg_ctl');
  const { code, errors, output } = await runAs(
    owner,
    program,
    ['start', '-w', '-s', '-D', path, '-l', log, '-t', '600'],
    signal,
  );
  if (code === 0) return { version, log };
  throw new CoppiceError(
    'damaged',
    `No server could be started on ${path}; its log ${log} says why (${(errors || output).trim().split('\n').at(-1)}).`,
  );
}
