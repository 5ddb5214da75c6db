import { CoppiceError, PoolClosed } from '../model/errors.ts';
import type { Attribution } from './audit.ts';
import type { OperationProgress } from './control.ts';
import type { Executor } from './executor.ts';
import {
  changes,
  longOperations,
  type OperationArguments,
  type OperationName,
  type OperationResult,
} from './operations.ts';
import { pauseUnlessCancelled } from './waiting.ts';

export interface Durability {
  /** `deferred`: return before it survives a power cut; `sync()` later makes everything durable at once. */
  readonly durability?: 'durable' | 'deferred';
}

export interface LongOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: OperationProgress) => void;
}

interface RunOptions {
  readonly durability?: Durability['durability'] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: LongOptions['onProgress'] | undefined;
  /** On whose behalf. */
  readonly by?: Attribution | undefined;
}

/** Runs the operations of one open pool: lets them wait for locks, and has those that arrive together share a commit. */
export class Runner {
  readonly #executor: Executor;
  readonly #lockTimeout: number;
  /** The last exclusive operation on each volume: the next waits here, not in a thread. */
  readonly #queues = new Map<string, Promise<unknown>>();
  /** How many operations have begun and not ended, and who is told when there are none. */
  #underWay = 0;
  #whenIdle: (() => void) | undefined;
  #commitRunning: Promise<void> | undefined;
  #commitNext: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** @param lockTimeout milliseconds */
  constructor(executor: Executor, lockTimeout: number) {
    this.#executor = executor;
    this.#lockTimeout = lockTimeout;
  }

  async run<N extends OperationName>(
    name: N,
    args: OperationArguments<N>,
    options: RunOptions = {},
  ): Promise<OperationResult<N>> {
    const { durability, signal, onProgress, by } = options;
    const control = onProgress || signal ? { signal, report: onProgress ?? (() => {}) } : undefined;
    this.#begin();
    try {
      let deadline: number | undefined;
      for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
        try {
          const isDurable = changes.has(name) && durability !== 'deferred';
          // Who is alone has nobody to share a commit with, and is spared a second thread to wake.
          const atOnce = isDurable && this.#underWay === 1 && !longOperations.has(name);
          const result = await this.#executor.run(name, args, control, atOnce, by);
          if (isDurable && !atOnce) await this.#commit();
          return result;
        } catch (error) {
          // Another process has the lock. The kernel tells nobody when it is free but those who block, and no thread shall block for it.
          if (!(error instanceof CoppiceError && error.code === 'busy')) throw error;
          deadline ??= performance.now() + this.#lockTimeout;
          if (performance.now() > deadline) throw error;
          onProgress?.({ step: 'waiting', fraction: 0 });
          await pauseUnlessCancelled(pause, signal, `${name} of ${args[0]}`);
        }
      }
    } finally {
      this.#end();
    }
  }

  /** Makes everything that has returned durable. */
  async commit(): Promise<void> {
    this.#begin();
    try {
      await this.#commit();
    } finally {
      this.#end();
    }
  }

  /** Runs after the other exclusive operations of this process on the same volumes. */
  exclusive<T>(references: readonly string[], run: () => Promise<T>): Promise<T> {
    const keys = new Set(references.map((reference) => reference.split('@', 1)[0] ?? ''));
    const before = [...keys].map((key) => this.#queues.get(key)?.catch(() => {}));
    const mine = Promise.all(before).then(run);
    for (const key of keys) this.#queues.set(key, mine);
    const forget = (): void => {
      for (const key of keys) if (this.#queues.get(key) === mine) this.#queues.delete(key);
    };
    mine.then(forget, forget);
    return mine;
  }

  /** Waits for what is under way, and ends the threads. */
  close(): Promise<void> {
    this.#closing ??= this.#idle().then(() => this.#executor.close());
    return this.#closing;
  }

  #begin(): void {
    if (this.#closing !== undefined) throw new PoolClosed();
    this.#underWay++;
  }

  #end(): void {
    if (--this.#underWay === 0) this.#whenIdle?.();
  }

  #idle(): Promise<void> {
    if (this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  /** Who asks while a commit is under way shares the next one. */
  #commit(): Promise<void> {
    this.#commitNext ??= (this.#commitRunning ?? Promise.resolve())
      .catch(() => {})
      .then(() => {
        this.#commitNext = undefined;
        this.#commitRunning = this.#executor.run('commit', []);
        return this.#commitRunning;
      });
    return this.#commitNext;
  }
}
