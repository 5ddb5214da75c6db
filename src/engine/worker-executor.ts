import type { Attribution } from './audit.ts';
import type { PoolHandle } from './context.ts';
import type { Control } from './control.ts';
import type { Executor } from './executor.ts';
import {
  longOperations,
  type OperationArguments,
  type OperationName,
  type OperationResult,
  quickOperations,
} from './operations.ts';
import { quickPace } from './quick-pace.ts';
import { wakefulness } from './wakefulness.ts';
import { type Task, WorkerThread } from './worker-thread.ts';

/** The most threads for quick operations, and for slow ones. */
const most = 8;

/** With so many under way it pays not to be woken for each; who waits for a single one would wait longer. */
const several = 4;

/**
 * Runs operations in worker threads, which are made when they are needed. Quick operations share threads among themselves, a slow
 * one, a commit and a long one has a thread to itself while it runs, so that nothing quick waits behind it.
 */
export function workerExecutor(handle: PoolHandle): Executor {
  const pace = quickPace(most);
  const quick = new Lane(() => pace.limits());
  const slow = new Lane(() => ({ threads: most, depth: 1 }));
  let threads: WorkerThread[] = [];
  let commits: WorkerThread | undefined;
  let pumping = false;
  const stayAwake = wakefulness(
    () =>
      quick.load >= several && pace.limits().threads === 1 ? (quick.load * pace.usual()) / 2 : undefined,
    () => threads,
  );

  const pump = (): void => {
    pumping = false;
    threads = threads.filter((thread) => !thread.isEnded);
    for (const lane of [quick, slow]) lane.serve(idleThread);
    for (const thread of threads) thread.send();
    stayAwake();
  };

  /** After everything that the present answers set going has asked for its next operation, so that it goes out together. */
  const pumpSoon = (): void => {
    if (pumping) return;
    pumping = true;
    process.nextTick(pump);
  };

  const idleThread = (): WorkerThread => {
    const idle = threads.find((thread) => thread.load === 0 && !thread.isEnded);
    if (idle) return idle;
    const made = new WorkerThread(handle, {
      // Who was answered will mostly ask for the next operation, and that pumps.
      onFree: () => {
        if (quick.waiting.length + slow.waiting.length > 0) pumpSoon();
      },
      onTime: (name, milliseconds) => {
        if (quickOperations.has(name)) pace.observe(milliseconds);
      },
    });
    threads.push(made);
    return made;
  };

  const start = (task: Task): void => {
    if (task.name === 'commit') {
      if (!commits || commits.isEnded) commits = new WorkerThread(handle);
      commits.give(task);
      commits.send();
    } else if (longOperations.has(task.name)) {
      const own: WorkerThread = new WorkerThread(handle, { onFree: () => void own.close() });
      own.give(task);
      own.send();
    } else {
      (quickOperations.has(task.name) ? quick : slow).waiting.push(task);
      pumpSoon();
    }
  };

  return {
    run<N extends OperationName>(
      name: N,
      args: OperationArguments<N>,
      control?: Control,
      andCommit?: boolean,
      by?: Attribution,
    ): Promise<OperationResult<N>> {
      return new Promise((resolve, reject) => {
        start({ name, args, control, andCommit, by, resolve: resolve as Task['resolve'], reject });
      });
    },
    async close() {
      await Promise.all([...threads, ...(commits ? [commits] : [])].map((thread) => thread.close()));
    },
  };
}

/** Tasks of one kind, and the threads that they have now. */
class Lane {
  readonly waiting: Task[] = [];
  readonly #limits: () => { readonly threads: number; readonly depth: number };
  #threads: WorkerThread[] = [];

  constructor(limits: () => { readonly threads: number; readonly depth: number }) {
    this.#limits = limits;
  }

  /** How many of its tasks are under way. */
  get load(): number {
    return this.#threads.reduce((sum, thread) => sum + thread.load, 0);
  }

  /** Gives away as much as there is room for. */
  serve(idleThread: () => WorkerThread): void {
    this.#threads = this.#threads.filter((thread) => thread.load > 0);
    const { threads, depth } = this.#limits();
    for (let task = this.waiting[0]; task; task = this.waiting[0]) {
      let thread = this.#threads.find((each) => each.load < depth);
      if (!thread) {
        if (this.#threads.length >= threads) return;
        thread = idleThread();
        this.#threads.push(thread);
      }
      thread.give(task);
      this.waiting.shift();
    }
  }
}
