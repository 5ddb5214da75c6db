import { setTimeout as delay } from 'node:timers/promises';
import { CoppiceError } from '../model/errors.ts';
import type { PoolHandle } from './context.ts';
import type { OperationProgress } from './control.ts';
import { type Executor, inlineExecutor } from './executor.ts';
import { explainFailure } from './failures.ts';
import type { Cloned, CloneOptions } from './operations/clone.ts';
import type { Created } from './operations/create.ts';
import type { Exported, ExportOptions } from './operations/export.ts';
import type { Grown } from './operations/grow.ts';
import type { Imported, ImportOptions } from './operations/import.ts';
import type { SnapshotSummary, VolumeDetails, VolumeSummary } from './operations/list.ts';
import type { Removed, RemoveOptions } from './operations/remove.ts';
import type { RollbackOptions, RolledBack } from './operations/rollback.ts';
import type { Sealed } from './operations/seal.ts';
import type { Snapshotted } from './operations/snapshot.ts';
import type { TreeNode } from './operations/tree.ts';
import type { UsageOptions, UsageReport } from './operations/usage.ts';
import { changes, type OperationArguments, type OperationName, type OperationResult } from './operations.ts';
import type { Finding } from './pools/check.ts';
import { defaultPoolPath } from './pools/create.ts';
import type { PoolDescription } from './pools/describe.ts';
import { openRoot } from './pools/open.ts';

export interface OpenOptions {
  /** Run operations in the calling thread, which they block, instead of in worker threads. For short-lived processes. */
  readonly inline?: boolean;
  /** How long to wait for a volume that another operation holds, in milliseconds. 30,000 when absent. */
  readonly lockTimeout?: number;
}

export interface Durability {
  /** `deferred`: return before it survives a power cut; `sync()` later makes everything durable at once. */
  readonly durability?: 'durable' | 'deferred';
}

export interface LongOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: OperationProgress) => void;
}

export interface ManyCloned {
  readonly cloned: readonly Cloned[];
  readonly failed: ReadonlyArray<{ readonly name: string; readonly error: CoppiceError }>;
}

interface RunOptions {
  readonly durability?: Durability['durability'] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: LongOptions['onProgress'] | undefined;
}

/** Opens a pool; @throws CoppiceError not_a_pool, unsupported. What a process that died had left unfinished is cleaned up. */
export async function openPool(path: string = defaultPoolPath, options: OpenOptions = {}): Promise<Pool> {
  try {
    return await open(path, options);
  } catch (error) {
    throw explainFailure(`open the pool ${path}`, error);
  }
}

async function open(path: string, options: OpenOptions): Promise<Pool> {
  const root = openRoot(path);
  try {
    const handle = { path: root.path, root: root.fd, metadata: root.metadata };
    const executor = await makeExecutor(handle, options.inline ?? false);
    await executor.run('sweep', []).catch(async (error) => {
      await executor.close();
      throw error;
    });
    return new Pool(root.path, executor, root, options.lockTimeout ?? 30_000);
  } catch (error) {
    root[Symbol.dispose]();
    throw error;
  }
}

async function makeExecutor(handle: PoolHandle, inline: boolean): Promise<Executor> {
  if (inline) return inlineExecutor(handle);
  const { workerExecutor } = await import('./worker-executor.ts');
  return workerExecutor(handle);
}

/**
 * An open pool. Every method throws a CoppiceError with a stable code when it can't do what it says. Sizes are bytes. A method
 * that changes something returns when the change survives a power cut, unless asked for less; changes that arrive together
 * share one commit.
 */
export class Pool implements AsyncDisposable {
  /** The real path of the pool's directory. */
  readonly path: string;
  readonly #executor: Executor;
  readonly #root: Disposable;
  readonly #lockTimeout: number;
  /** The last exclusive operation on each volume: the next waits here, not in a thread. */
  readonly #queues = new Map<string, Promise<unknown>>();
  readonly #underWay = new Set<Promise<unknown>>();
  #commitRunning: Promise<void> | undefined;
  #commitNext: Promise<void> | undefined;

  /** Use `openPool`. */
  constructor(path: string, executor: Executor, root: Disposable, lockTimeout: number) {
    this.path = path;
    this.#executor = executor;
    this.#root = root;
    this.#lockTimeout = lockTimeout;
  }

  /** Makes a template from a raw or qcow2 image. The name appears when it is complete, or never. */
  import(name: string, source: string, options: ImportOptions & LongOptions = {}): Promise<Imported> {
    const { signal, onProgress, ...rest } = options;
    return this.#run('import', [name, source, rest], { signal, onProgress });
  }

  /** Writes a volume, a template or `VOLUME@SNAPSHOT` to a file outside the pool. */
  export(source: string, file: string, options: ExportOptions & LongOptions = {}): Promise<Exported> {
    const { signal, onProgress, ...rest } = options;
    return this.#run('export', [source, file, rest], { signal, onProgress });
  }

  /** Makes an empty volume. */
  create(name: string, options: { readonly bytes: number } & Durability): Promise<Created> {
    return this.#run('create', [name, { bytes: options.bytes }], options);
  }

  /** Makes a writable copy of a template, a volume or `VOLUME@SNAPSHOT`, which shares all blocks with it. */
  clone(source: string, name: string, options: CloneOptions & Durability = {}): Promise<Cloned> {
    const { durability, ...rest } = options;
    return this.#run('clone', [source, name, rest], { durability });
  }

  /** Makes NAME-1 to NAME-COUNT. Each is whole or not there; what failed is listed beside what was made. */
  async cloneMany(
    source: string,
    name: string,
    count: number,
    options: CloneOptions & Durability = {},
  ): Promise<ManyCloned> {
    if (!Number.isInteger(count) || count < 1 || count > 100_000) {
      throw new CoppiceError(
        'invalid_argument',
        `${count} is not a valid count: clone 1 to 100,000 at once.`,
      );
    }
    const names = Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
    const cloned: Cloned[] = [];
    const failed: Array<{ name: string; error: CoppiceError }> = [];
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let each = names[next++]; each !== undefined; each = names[next++]) {
        try {
          cloned.push(await this.clone(source, each, { ...options, durability: 'deferred' }));
        } catch (error) {
          if (!(error instanceof CoppiceError)) throw error;
          failed.push({ name: each, error });
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(count, 8) }, lane));
    if (options.durability !== 'deferred') await this.sync();
    return { cloned, failed };
  }

  /** Takes an immutable snapshot: `VOLUME@NAME`, or `VOLUME` for a name made from the time. The volume may be in use. */
  snapshot(reference: string, options: Durability = {}): Promise<Snapshotted> {
    return this.#run('snapshot', [reference], options);
  }

  /** Puts a volume back to `VOLUME@SNAPSHOT`. The replaced state is kept as a snapshot, which `undo` in the result names. */
  rollback(reference: string, options: RollbackOptions & Durability = {}): Promise<RolledBack> {
    const { durability, ...rest } = options;
    return this.#exclusive([reference], () => this.#run('rollback', [reference, rest], { durability }));
  }

  rename(
    from: string,
    to: string,
    options: Durability = {},
  ): Promise<{ readonly from: string; readonly name: string }> {
    return this.#exclusive([from], () => this.#run('rename', [from, to], options));
  }

  /** Makes a volume larger, also while it is in use. */
  grow(name: string, options: { readonly bytes: number } & Durability): Promise<Grown> {
    return this.#exclusive([name], () => this.#run('grow', [name, { bytes: options.bytes }], options));
  }

  /** Makes a template from the present state of a volume, or from a snapshot. */
  seal(source: string, template: string, options: Durability = {}): Promise<Sealed> {
    return this.#run('seal', [source, template], options);
  }

  /** Removes volumes, templates and snapshots; looks at all of them before it removes one. */
  remove(references: string | readonly string[], options: RemoveOptions & Durability = {}): Promise<Removed> {
    const { durability, ...rest } = options;
    const all = typeof references === 'string' ? [references] : references;
    return this.#exclusive(all, () => this.#run('remove', [all, rest], { durability }));
  }

  list(): Promise<VolumeSummary[]> {
    return this.#run('list', []);
  }

  /** The snapshots of one volume, or of all, the oldest first. */
  listSnapshots(volume?: string): Promise<SnapshotSummary[]> {
    return this.#run('listSnapshots', [volume]);
  }

  show(name: string): Promise<VolumeDetails> {
    return this.#run('show', [name]);
  }

  /** The path that a virtual machine monitor opens. */
  diskPath(reference: string): Promise<string> {
    return this.#run('path', [reference]);
  }

  /** The lineage of everything, or of one volume and all that descends from it. */
  tree(name?: string): Promise<TreeNode[]> {
    return this.#run('tree', [name]);
  }

  /** What volumes and snapshots take; of everything when none is named. */
  usage(references: readonly string[] = [], options: UsageOptions = {}): Promise<UsageReport> {
    return this.#run('usage', [references, options]);
  }

  describe(): Promise<PoolDescription> {
    return this.#run('describe', []);
  }

  check(): Promise<Finding[]> {
    return this.#run('check', []);
  }

  /** Makes every change that has returned durable. */
  sync(): Promise<void> {
    this.#commitNext ??= (this.#commitRunning ?? Promise.resolve())
      .catch(() => {})
      .then(() => {
        this.#commitNext = undefined;
        this.#commitRunning = this.#executor.run('commit', []);
        return this.#commitRunning;
      });
    return this.#commitNext;
  }

  /** Waits for what is under way, ends the threads and lets go of the pool. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    await this.#executor.close();
    this.#root[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #run<N extends OperationName>(
    name: N,
    args: OperationArguments<N>,
    options: RunOptions = {},
  ): Promise<OperationResult<N>> {
    const running = this.#runWithLocks(name, args, options);
    this.#underWay.add(running);
    const ended = (): void => void this.#underWay.delete(running);
    running.then(ended, ended);
    return running;
  }

  async #runWithLocks<N extends OperationName>(
    name: N,
    args: OperationArguments<N>,
    options: RunOptions,
  ): Promise<OperationResult<N>> {
    const control = { signal: options.signal, report: options.onProgress ?? (() => {}) };
    const deadline = Date.now() + this.#lockTimeout;
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      try {
        const result = await this.#executor.run(name, args, control);
        if (changes.has(name) && options.durability !== 'deferred') await this.sync();
        return result;
      } catch (error) {
        // Another process has the lock. The kernel tells nobody when it is free but those who block, and no thread shall block for it.
        if (!(error instanceof CoppiceError && error.code === 'busy') || Date.now() > deadline) throw error;
        await delay(pause);
      }
    }
  }

  /** Runs after the other exclusive operations of this process on the same volumes. */
  #exclusive<T>(references: readonly string[], run: () => Promise<T>): Promise<T> {
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
}
