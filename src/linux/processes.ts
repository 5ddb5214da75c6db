import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { attempt, closeDescriptor, hasErrno, SystemError } from './system-calls.ts';

/** Processes as the kernel shows them in /proc, and signals that reach the one that was meant, and no other that got its number. */

export interface ProcessIdentity {
  readonly pid: number;
  /** When it was started, in ticks since the start of the machine: two with the same number differ in this. */
  readonly started: string;
}

export interface RunningProcess extends ProcessIdentity {
  readonly parent: number;
  /** A letter, see proc(5): `T` stopped, `t` by who traces it, `Z` and `X` ended. */
  readonly state: string;
  readonly isKernelThread: boolean;
  readonly name: string;
}

const PF_KTHREAD = 0x00200000;
const { ESRCH } = constants.errno;

/** Undefined when there is none of this number. */
export function readProcess(pid: number): RunningProcess | undefined {
  const text = readIfThere(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name stands in parentheses, and may have some in it.
  const end = text.lastIndexOf(')');
  const fields = text.slice(end + 2).split(' ');
  return {
    pid,
    name: text.slice(text.indexOf('(') + 1, end),
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    isKernelThread: (Number(fields[6]) & PF_KTHREAD) !== 0,
    started: fields[19] ?? '',
  };
}

/** All that this process can see. */
export function readProcesses(): RunningProcess[] {
  return readdirSync('/proc').flatMap((name) =>
    /^\d+$/.test(name) ? (readProcess(Number(name)) ?? []) : [],
  );
}

/** The process, who started it, who started that one, and so on up to the first. */
export function withAncestors(pid: number): RunningProcess[] {
  const found: RunningProcess[] = [];
  for (let each = readProcess(pid); each; each = each.parent > 0 ? readProcess(each.parent) : undefined)
    found.push(each);
  return found;
}

export function isEnded({ state }: RunningProcess): boolean {
  return state === 'Z' || state === 'X' || state === 'x';
}

/** Whether all threads of a process are stopped. One that has ended does nothing either. */
export function isStopped({ pid, started }: ProcessIdentity): boolean {
  if (readProcess(pid)?.started !== started) return true;
  return threadsOf(pid).every((thread) => {
    const text = readIfThere(`/proc/${pid}/task/${thread}/stat`);
    return text === undefined || /^[TtZXx]/.test(text.slice(text.lastIndexOf(')') + 2));
  });
}

/**
 * Sends a signal to exactly this process. Returns false when it has ended.
 * @throws SystemError EPERM, where we may not
 */
export function signalProcess({ pid, started }: ProcessIdentity, signal: NodeJS.Signals): boolean {
  const fd = attempt('pidfd_open', `process ${pid}`, pid, 0);
  if (fd === -ESRCH) return false;
  if (fd < 0) throw new SystemError(-fd, 'pidfd_open', `process ${pid}`);
  try {
    // The descriptor keeps to whoever has the number now; is that the one?
    if (readProcess(pid)?.started !== started) return false;
    const result = attempt('pidfd_send_signal', `process ${pid}`, fd, constants.signals[signal], null, 0);
    if (result === -ESRCH) return false;
    if (result < 0) throw new SystemError(-result, 'pidfd_send_signal', `process ${pid}`);
    return true;
  } finally {
    closeDescriptor(fd);
  }
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return [];
    throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return undefined; // it has ended
    throw error;
  }
}
