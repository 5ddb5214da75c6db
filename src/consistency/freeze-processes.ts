import { findFileSystemUsers } from '../linux/file-system-users.ts';
import { monotonicMilliseconds } from '../linux/monotonic.ts';
import {
  isEnded,
  isStopped,
  type ProcessIdentity,
  type RunningProcess,
  readProcess,
  readProcesses,
  signalProcess,
} from '../linux/processes.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import { type FreezeGuard, type Freezing, requireFreezable, untilTrue } from './freezing.ts';

/** Which processes are to be stopped. @param known those that are already */
type Choose = (known: ReadonlySet<number>) => RunningProcess[];

/** Stops a process, and all that it and those have started, by signals. @throws CoppiceError not_found */
export function treeFreezing(pid: number): Freezing {
  const root = readProcess(pid);
  if (!root || isEnded(root)) throw notRunning(pid);
  return new ProcessFreezing((known) => {
    const isThere = readProcess(pid)?.started === root.started;
    if (!isThere && known.size === 0) throw notRunning(pid);
    return descendants(new Set([pid, ...known]));
  });
}

/** Stops all processes that have something of the file system of a directory open. */
export function holderFreezing(directory: string): Freezing {
  return new ProcessFreezing(() => {
    const { users, complete } = findFileSystemUsers(directory);
    if (complete) return users;
    throw new CoppiceError(
      'permission_denied',
      `Who has something of ${directory} open can't be seen for all processes without root; run it as root, or declare what is to be frozen by pid-file= or cgroup=.`,
    );
  });
}

function notRunning(pid: number): CoppiceError {
  return new CoppiceError(
    'not_found',
    `There is no process ${pid} to freeze: what should be frozen does not run.`,
  );
}

function descendants(roots: ReadonlySet<number>): RunningProcess[] {
  const all = readProcesses();
  const chosen = new Set(roots);
  // A child may stand before its parent, when the numbers have begun anew.
  for (let before = -1; before < chosen.size; ) {
    before = chosen.size;
    for (const { pid, parent } of all) if (chosen.has(parent)) chosen.add(pid);
  }
  return all.filter((each) => chosen.has(each.pid) && !isEnded(each));
}

/**
 * Milliseconds after which all are let go on and stopped anew: one that waits for a child to start its program (vfork) can't be stopped
 * while that child is.
 */
const patience = 500;

class ProcessFreezing implements Freezing {
  readonly turn = 'processes';
  readonly #choose: Choose;
  readonly #ours: ProcessIdentity[] = [];
  readonly #all: ProcessIdentity[] = [];

  constructor(choose: Choose) {
    this.#choose = choose;
  }

  check(): void {
    requireFreezable(this.#choose(new Set()));
  }

  async freeze(guard: FreezeGuard, signal: AbortSignal): Promise<void> {
    while (!(await this.#stop(guard, signal))) this.thaw(guard);
  }

  /** Until none is found that was not there before: those who run may start others meanwhile. */
  async #stop(guard: FreezeGuard, signal: AbortSignal): Promise<boolean> {
    const until = monotonicMilliseconds() + patience;
    for (;;) {
      const known = new Set(this.#all.map(({ pid }) => pid));
      const fresh = this.#choose(known).filter(({ pid }) => !known.has(pid));
      if (fresh.length === 0) return true;
      requireFreezable(fresh);
      // What somebody else has stopped, as a shell does with its jobs, is to stay so.
      const ours = fresh.filter((each) => guard.turn.isHeld(keyOf(each)) || !/[Tt]/.test(each.state));
      this.#all.push(...fresh);
      await guard.releaser.tell({ processes: ours.map(({ pid, started }) => ({ pid, started })) });
      for (const each of ours) {
        guard.turn.begin(keyOf(each));
        this.#ours.push(each);
        stop(each);
      }
      let isLate = false;
      await untilTrue(() => {
        isLate = monotonicMilliseconds() > until;
        return isLate || this.#all.every(isStopped);
      }, signal);
      if (isLate) return false;
    }
  }

  count(): number | undefined {
    return this.#all.every(isStopped) ? this.#all.length : undefined;
  }

  thaw({ turn }: FreezeGuard): void {
    this.#all.length = 0;
    for (let each = this.#ours.pop(); each; each = this.#ours.pop())
      if (turn.end(keyOf(each))) signalProcess(each, 'SIGCONT');
  }

  [Symbol.dispose](): void {}
}

function keyOf({ pid, started }: ProcessIdentity): string {
  return `${pid}:${started}`;
}

function stop(found: RunningProcess): void {
  try {
    signalProcess(found, 'SIGSTOP');
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES')) throw error;
    throw new CoppiceError('permission_denied', `You may not stop process ${found.pid} (${found.name}).`, {
      cause: error,
    });
  }
}
