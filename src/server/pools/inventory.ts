import { Worker } from 'node:worker_threads';
import type { Diagnosis } from '../../engine/doctor/doctor.ts';
import type { Finding } from '../../engine/pools/check.ts';
import type { GrowPoolOptions, PoolGrown } from '../../engine/pools/grow.ts';
import { revived } from './carried-failure.ts';
import type {
  InventoryEntry,
  InventoryMessage,
  InventoryTask,
  LineagePage,
  PolicyPage,
  PreviewPage,
} from './inventory-worker.ts';

interface Waiting {
  readonly resolve: (result: never) => void;
  readonly reject: (failure: unknown) => void;
}

/** The main thread's end of the thread that reads a whole pool. */
export class Inventory {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onEntries: (entries: readonly InventoryEntry[]) => void;
  readonly #sharing = new Map<'check' | 'diagnose', Promise<unknown>>();
  #next = 0;
  #ended: Error | undefined;
  #underWay: Promise<void> | undefined;
  #following: Promise<void> | undefined;

  /** @param onEntries is told what is new, in pieces, while a refresh goes on */
  constructor(path: string, onEntries: (entries: readonly InventoryEntry[]) => void) {
    this.#onEntries = onEntries;
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./inventory-worker.${extension}`, import.meta.url), {
      workerData: path,
      trackUnmanagedFds: false,
      // It holds the list of everything once, and reads it again and again: garbage shall not pile up.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    this.#worker.on('message', (message: InventoryMessage) => this.#receive(message));
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', () => this.#end(new Error('The thread that reads the pool has ended.')));
  }

  get isReading(): boolean {
    return this.#underWay !== undefined;
  }

  /** Reads the pool, from a moment after the call: what has been done before is seen. Those who ask together share one reading. */
  refresh(): Promise<void> {
    if (!this.#underWay) return this.#start();
    this.#following ??= this.#underWay
      .catch(() => {})
      .then(() => {
        this.#following = undefined;
        return this.#start();
      });
    return this.#following;
  }

  /** @throws when the path does not lead to the same pool any more */
  verify(): Promise<void> {
    return this.#ask({ task: 'verify' });
  }

  check(): Promise<readonly Finding[]> {
    return this.#shared('check');
  }

  diagnose(): Promise<Diagnosis> {
    return this.#shared('diagnose');
  }

  growPool(bytes: number, options: GrowPoolOptions): Promise<PoolGrown> {
    return this.#ask({ task: 'grow', bytes, options });
  }

  lineage(volume: string | undefined, from: number, many: number): Promise<LineagePage> {
    return this.#ask({ task: 'lineage', from, many, ...(volume !== undefined && { volume }) });
  }

  policies(from: number, many: number): Promise<PolicyPage> {
    return this.#ask({ task: 'policies', from, many });
  }

  /** @param volumes all when there are none */
  preview(volumes: readonly string[], from: number, many: number): Promise<PreviewPage> {
    return this.#ask({ task: 'preview', volumes, from, many });
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.postMessage('close');
    await ended;
  }

  /** Each takes long, in the thread that reads the pool, too: those who ask meanwhile get the same answer. */
  #shared<T>(task: 'check' | 'diagnose'): Promise<T> {
    const underWay =
      this.#sharing.get(task) ?? this.#ask<T>({ task }).finally(() => this.#sharing.delete(task));
    this.#sharing.set(task, underWay);
    return underWay as Promise<T>;
  }

  #start(): Promise<void> {
    const run: Promise<void> = this.#ask<void>({ task: 'refresh' }).finally(() => {
      if (this.#underWay === run) this.#underWay = undefined;
    });
    this.#underWay = run;
    return run;
  }

  #ask<T>(task: InventoryTask): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      this.#worker.postMessage({ id, ...task });
    });
  }

  #receive(message: InventoryMessage): void {
    if ('entries' in message) {
      this.#onEntries(message.entries);
      setImmediate(() => this.#worker.postMessage('taken'));
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if ('failure' in message) waiting?.reject(revived(message.failure));
    else waiting?.resolve(message.result as never);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }
}
