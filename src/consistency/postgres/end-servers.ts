import { readProcess, signalProcess } from '../../linux/processes.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type DataDirectory, openDataDirectory } from './data-directory.ts';
import { serverProcesses, worksIn } from './server-processes.ts';

/** Milliseconds until which a server has ended, by force after the half of them. */
const patience = 20_000;
const between = 20;

/**
 * Ends all servers on a copy at once, without a farewell to its data: it is about to be removed. Blocks until they are gone.
 * @param below the data directory, from the directory of the copy
 * @throws CoppiceError io_error when one does not end
 */
export function endServers(copy: string, below: string): void {
  using directory = openDataDirectory(copy, below);
  const began = performance.now();
  for (;;) {
    const { pids } = serverProcesses(directory);
    if (pids.length === 0) return;
    const waited = performance.now() - began;
    if (waited > patience)
      throw new CoppiceError(
        'io_error',
        `The server on ${directory.path} (process ${pids[0]}) does not end.`,
      );
    for (const pid of pids) end(pid, directory, waited > patience / 2 ? 'SIGKILL' : 'SIGQUIT');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, between);
  }
}

function end(pid: number, directory: DataDirectory, signal: NodeJS.Signals): void {
  const server = readProcess(pid);
  // The number may be another one's by now.
  if (server && worksIn(pid, directory)) signalProcess(server, signal);
}
