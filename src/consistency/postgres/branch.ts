import { join } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';
import { openDataDirectory } from './data-directory.ts';
import { makeSafe, type SafeOptions } from './make-safe.ts';
import { findPrograms, runAs } from './programs.ts';

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
