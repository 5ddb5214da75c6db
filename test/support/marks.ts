import { readFileSync } from 'node:fs';
import { isEnded, type RunningProcess, readProcess, readProcesses } from '../../src/linux/processes.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';

/**
 * Every process that a test starts has a variable from it, by which it is known for that test's also when whoever started it has
 * ended. One that stays keeps what it has open, such as the output of the whole run, which then does not end.
 */

const variable = 'COPPICE_TEST_RUN';

/** Gives all that this process starts from now on the mark of a run of tests. */
export function markRun(): void {
  process.env[variable] = `${process.pid}-${readProcess(process.pid)?.started}`;
}

/** Of a run, the processes of one file of tests: its mark is that of the run, and this process's own behind it. */
export function markFile(): void {
  const [run] = (process.env[variable] ?? 'alone').split('/');
  process.env[variable] = `${run}/${process.pid}`;
}

/** What a process needs that is given no other variables of this one: the mark, and where Node keeps what it has compiled. */
export function mark(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [variable, 'NODE_COMPILE_CACHE'].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Those that have the mark that this process gives, or one of a file of its run. */
export function markedProcesses(): RunningProcess[] {
  const own = process.env[variable];
  if (own === undefined) return [];
  return readProcesses().filter((each) => {
    if (each.pid === process.pid || isEnded(each)) return false;
    const value = wordsOf(each.pid, 'environ')
      .find((entry) => entry.startsWith(`${variable}=`))
      ?.slice(variable.length + 1);
    return value === own || value?.startsWith(`${own}/`) === true;
  });
}

/** What a process was started as; empty when it has ended, also where it is only to be reaped. */
export function commandOf(pid: number): string {
  return wordsOf(pid, 'cmdline').join(' ').trim();
}

export function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}

function wordsOf(pid: number, file: 'environ' | 'cmdline'): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0');
  } catch (error) {
    // It has ended meanwhile, or is somebody else's.
    if (hasErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return [];
    throw error;
  }
}
