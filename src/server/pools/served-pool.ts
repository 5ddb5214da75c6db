import { setTimeout as pause } from 'node:timers/promises';
import type { AuditEntry } from '../../engine/audit.ts';
import { openPool } from '../../engine/open-pool.ts';
import type { Listed } from '../../engine/operations/list.ts';
import type { Pool } from '../../engine/pool.ts';
import { openPoolRoot } from '../../engine/pools/open.ts';
import { CoppiceError } from '../../model/errors.ts';
import { unavailable } from '../failures.ts';
import type { Log } from '../log.ts';
import { Inventory } from './inventory.ts';
import type { InventoryEntry } from './inventory-worker.ts';
import { listedFrom } from './listed.ts';
import { type Change, PoolIndex, sameEntry } from './pool-index.ts';
import { requireReachable } from './reachable.ts';

/** Seconds between two tries to reach a pool that is not there, and between two looks whether it still is. */
const retry = 2;
const verifyEvery = 5;

/** The pool is read as a whole so often, in milliseconds, unless that takes more than a twentieth of the time. */
const refreshEvery = 30_000;
const refreshShare = 20;

/** So many volumes are looked at again at once. None is left out: a reading of the whole pool tells only what is new to it. */
const mostRereads = 500;

/** Milliseconds after which a volume that could not be looked at is looked at again. */
const lookAgain = 5000;

export interface ServedPoolSetup {
  /** What clients call it. */
  readonly id: string;
  readonly path: string;
  readonly auditLog: string;
  readonly log: Log;
  readonly onChange: (change: Change) => void;
  /** It can be used now, or not any more. Awaited before it is used. */
  readonly onState: (isAvailable: boolean) => Promise<void> | void;
}

interface Opened {
  readonly pool: Pool;
  readonly inventory: Inventory;
}

/**
 * A pool that the server serves: opened when it can be, closed when it has gone, and tried again; with an index of what is in
 * it, which follows what is done here and by others.
 */
export class ServedPool implements AsyncDisposable {
  readonly id: string;
  readonly path: string;
  readonly index: PoolIndex;
  readonly #setup: ServedPoolSetup;
  readonly #ended = new AbortController();
  readonly #life: Promise<void>;
  #opened: Opened | undefined;
  #reason = 'It has not been opened yet.';
  #ready: Promise<void> | undefined;
  /** The last one who has touched a name, and how many are at work on it. */
  readonly #touches = new Map<string, { last: number; underWay: number }>();
  #touch = 0;
  readonly #dirty = new Set<string>();
  #isRereading = false;
  /** Ends when those are looked at that were dirty at its beginning. */
  #round = Promise.withResolvers<void>();

  constructor(setup: ServedPoolSetup) {
    this.id = setup.id;
    this.path = setup.path;
    this.#setup = setup;
    this.index = new PoolIndex(setup.onChange);
    this.#life = this.#live();
  }

  /** Why it can't be used; undefined when it can. */
  get unavailableReason(): string | undefined {
    return this.#opened ? undefined : this.#reason;
  }

  get isAvailable(): boolean {
    return this.#opened !== undefined;
  }

  /** @throws ConnectError UNAVAILABLE */
  get pool(): Pool {
    return this.#require().pool;
  }

  /** @throws ConnectError UNAVAILABLE */
  get inventory(): Inventory {
    return this.#require().inventory;
  }

  /** Resolves when the index tells what was there at a moment after the call. @throws ConnectError UNAVAILABLE */
  async refreshed(): Promise<void> {
    await this.inventory.refresh();
    await this.#rereadDone();
  }

  /** What was touched lately is looked at one by one: in the round that is under way, or in the next. */
  async #rereadDone(): Promise<void> {
    for (let rounds = 0; rounds < 2 && this.#isRereading; rounds++) await this.#round.promise;
  }

  /** Resolves when the pool has been read once. @throws ConnectError UNAVAILABLE */
  async indexed(): Promise<void> {
    this.#require();
    await this.#ready;
  }

  /**
   * Does something to volumes, and brings the index up to date.
   * @param apply what is there afterwards. Left out, or where somebody else was at the same volumes meanwhile, they are looked at again
   */
  async change<T>(
    names: readonly string[],
    run: () => Promise<T>,
    apply?: (result: T, index: PoolIndex) => void,
  ): Promise<T> {
    const touches = names.map((name) => ({ name, last: this.#begin(name) }));
    let result: T | undefined;
    let succeeded = false;
    try {
      result = await run();
      succeeded = true;
      return result;
    } finally {
      const alone = touches.map(({ name, last }) => this.#end(name, last)).every(Boolean);
      if (alone && apply && succeeded) apply(result as T, this.index);
      // After a failure something may have happened all the same.
      else for (const name of names) this.#reread(name);
    }
  }

  /** What was done to a volume has changed these, too. Resolves when they were looked at again. */
  async alsoChanged(references: readonly string[]): Promise<void> {
    if (references.length === 0) return;
    for (const name of new Set(references.map((each) => each.split('@', 1)[0] ?? ''))) this.#reread(name);
    await this.#rereadDone();
  }

  /** Whether a line of the audit log is about what was done through this. */
  wrote(line: string): boolean {
    return this.#opened !== undefined && line.endsWith(`"session":"${this.#opened.pool.session}"}`);
  }

  /** Somebody else has changed this pool. */
  heard(entry: AuditEntry): void {
    const opened = this.#opened;
    if (!opened || entry.session === opened.pool.session) return;
    if (entry.poolId !== opened.pool.id || entry.outcome !== 'ok') return;
    if (!Array.isArray(entry.names)) this.#readAllSoon();
    else for (const name of entry.names) if (typeof name === 'string') this.#reread(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#life;
  }

  #require(): Opened {
    if (this.#opened) return this.#opened;
    const message = `The pool ${this.id} can't be used now: ${this.#reason}`;
    throw unavailable('POOL_UNAVAILABLE', message, retry);
  }

  async #live(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        await this.#open();
        await this.#watchOver(signal);
        this.#reason = 'The server is stopping.';
      } catch (error) {
        this.#reason = sentence(error);
        this.#setup.log.warn('pool unavailable', { pool: this.id, path: this.path, reason: this.#reason });
      }
      await this.#close();
      await pause(retry * 1000, undefined, { signal }).catch(() => {});
      // Only a change of the reason is worth another line.
      while (!signal.aborted && (await this.#isStillMissing()))
        await pause(retry * 1000, undefined, { signal }).catch(() => {});
    }
  }

  async #open(): Promise<void> {
    const { auditLog } = this.#setup;
    await requireReachable(this.path, this.#ended.signal);
    const pool = await openPool(this.path, { auditLog, program: 'daemon' });
    const inventory = new Inventory(this.path, (entries) => this.#apply(entries));
    this.#opened = { pool, inventory };
    this.#ready = inventory.refresh();
    this.#ready.catch(() => {});
    await this.#setup.onState(true);
    this.#setup.log.info('pool available', { pool: this.id, path: this.path });
  }

  async #isStillMissing(): Promise<boolean> {
    try {
      await requireReachable(this.path, this.#ended.signal);
      // Only whether it is there: what has to be cleared in it is cleared in a thread.
      openPoolRoot(this.path)[Symbol.dispose]();
      return false;
    } catch (error) {
      this.#reason = sentence(error);
      return true;
    }
  }

  /** Until the server ends, or the pool is not there any more. */
  async #watchOver(signal: AbortSignal): Promise<void> {
    const { inventory } = this.#require();
    let nextRefresh = performance.now();
    while (!signal.aborted) {
      const now = performance.now();
      if (now >= nextRefresh) {
        await inventory.refresh();
        const took = performance.now() - now;
        nextRefresh = performance.now() + Math.max(refreshEvery, took * refreshShare);
      }
      if (!inventory.isReading) this.#forgetTouches();
      await pause(verifyEvery * 1000, undefined, { signal }).catch(() => {});
      if (!signal.aborted) await inventory.verify();
    }
  }

  async #close(): Promise<void> {
    const opened = this.#opened;
    if (!opened) return;
    this.#opened = undefined;
    await this.#setup.onState(false);
    await opened.inventory.close();
    await opened.pool.close();
    this.index.clear();
  }

  #apply(entries: readonly InventoryEntry[]): void {
    for (const { name, volume, snapshots = [] } of entries) {
      const entry: Listed | undefined = volume && { volume, snapshots };
      if (sameEntry(this.index.get(name), entry)) continue;
      // Read before or after somebody has changed it: the next look decides.
      if (this.#touches.has(name)) this.#reread(name);
      else if (entry) this.index.set(name, entry);
      else this.index.delete(name);
    }
  }

  #begin(name: string): number {
    const last = ++this.#touch;
    const touch = this.#touches.get(name);
    if (touch) {
      touch.last = last;
      touch.underWay++;
    } else this.#touches.set(name, { last, underWay: 1 });
    return last;
  }

  /** Whether nobody else has touched it since. */
  #end(name: string, last: number): boolean {
    const touch = this.#touches.get(name);
    if (!touch) return false;
    touch.underWay--;
    return touch.last === last && touch.underWay === 0;
  }

  /** The next reading sees what was done before it. */
  #forgetTouches(): void {
    for (const [name, { underWay }] of this.#touches) if (underWay === 0) this.#touches.delete(name);
  }

  #reread(name: string): void {
    const touch = this.#touches.get(name);
    if (touch && this.#dirty.has(name)) touch.last = ++this.#touch;
    else this.#begin(name);
    this.#dirty.add(name);
    if (!this.#isRereading) void this.#rereadAll();
  }

  async #rereadAll(): Promise<void> {
    this.#isRereading = true;
    // What comes together is looked at together.
    await pause(1);
    while (this.#dirty.size > 0) {
      const names = [...this.#dirty].slice(0, mostRereads);
      for (const name of names) this.#dirty.delete(name);
      await Promise.all(names.map((name) => this.#rereadOne(name)));
      const { resolve } = this.#round;
      this.#round = Promise.withResolvers();
      resolve();
    }
    this.#isRereading = false;
  }

  async #rereadOne(name: string): Promise<void> {
    const last = this.#touches.get(name)?.last ?? 0;
    const found = await this.#look(name);
    if (!this.#end(name, last)) {
      // Touched again meanwhile: whoever did that looks again, or is asked to.
      if ((this.#touches.get(name)?.underWay ?? 0) === 0) this.#reread(name);
      return;
    }
    if (found === 'gone') this.index.delete(name);
    else if (found) this.index.set(name, found);
  }

  async #look(name: string): Promise<Listed | 'gone' | undefined> {
    try {
      return this.#opened && listedFrom(await this.#opened.pool.show(name));
    } catch (error) {
      if (error instanceof CoppiceError && error.code === 'not_found') return 'gone';
      // Somebody holds it, or its disk has failed: what is known of it stays, until it can be looked at.
      setTimeout(() => this.#opened && this.#reread(name), lookAgain).unref();
      return undefined;
    }
  }

  #readAllSoon(): void {
    this.#opened?.inventory.refresh().catch(() => {});
  }
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
