import { setTimeout as delay, setImmediate as soon } from 'node:timers/promises';
import { type RunningProcess, withAncestors } from '../linux/processes.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Releaser } from './releaser.ts';
import type { Turn } from './turns.ts';

/** A way to stop processes. */
export interface Freezing extends Disposable {
  /** The name of the lock by which those take turns who could thaw what another one has frozen. */
  readonly turn: string;
  /** The descriptor of a cgroup, for who thaws when we can't. */
  readonly cgroup?: number;
  /** Looks whether it can and may be done, and does nothing. @throws CoppiceError */
  check(): void;
  /**
   * Returns when all have come to rest. What it has begun when it fails, `thaw` ends.
   * @throws CoppiceError
   */
  freeze(guard: FreezeGuard, signal: AbortSignal): Promise<void>;
  /** How many processes stand still; undefined when one of them does not any more. */
  count(): number | undefined;
  /** All that was frozen here goes on, and what somebody else had stopped before stays so. */
  thaw(guard: FreezeGuard): void;
}

export interface FreezeGuard {
  readonly turn: Turn;
  readonly releaser: Releaser;
}

/** @throws CoppiceError blocked when one of them is needed to thaw the others again, or by nobody but the kernel to be stopped */
export function requireFreezable(processes: readonly RunningProcess[]): void {
  const above = new Set(withAncestors(process.pid).map(({ pid }) => pid));
  for (const { pid, name, isKernelThread } of processes) {
    const why =
      pid === process.pid
        ? 'is the one that takes the snapshot'
        : pid === 1
          ? 'is the first of all, without which nothing goes on'
          : above.has(pid)
            ? 'has started the one that takes the snapshot'
            : isKernelThread
              ? 'belongs to the kernel'
              : undefined;
    if (why === undefined) continue;
    throw new CoppiceError(
      'blocked',
      `Process ${pid} (${name}) can't be frozen: it ${why}. Leave the volume with your shell, or declare what is to be frozen more closely, by unit=, cgroup= or pid-file=.`,
    );
  }
}

/** Asks again and again, first at once: most are at rest in less than a millisecond. @throws what the signal says */
export async function untilTrue(condition: () => boolean, signal: AbortSignal): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    signal.throwIfAborted();
    await (tries < 10 ? soon() : delay(1));
  }
}
