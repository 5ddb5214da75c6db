import type { Metadata } from '../../model/metadata.ts';
import type { Held, Place } from '../driver.ts';
import type { HeldLock } from './locks.ts';

/** What a staged entry will be, and is not yet: it is made in one step when it is known where it goes. */
export type Draft =
  | { readonly kind: 'volume'; readonly bytes: number; readonly blockBytes: number | undefined }
  | { readonly kind: 'tree'; readonly blockBytes: number | undefined }
  | { readonly kind: 'clone'; readonly source: HeldDataset; readonly bytes: number | undefined }
  | { readonly kind: 'snapshot'; readonly source: HeldDataset };

/** A place that is locked, or that nobody else knows of. */
export class HeldDataset implements Held {
  place: Place;
  /** The dataset or snapshot with the data; undefined where there is none, or not yet. */
  dataset: string | undefined;
  draft: Draft | undefined;
  /** Not written yet, because what it belongs to is still a draft. */
  draftMetadata: Metadata | undefined;
  /** It got the name that it has just now. */
  isRenamed = false;
  /** What is remembered of it from one time to the next; undefined where nothing is. */
  memory: Remembered | undefined;
  /** What it said of itself when it was opened; undefined when that must be read again. */
  known: Metadata | 'nothing' | undefined;
  readonly #locks: HeldLock[];

  /** @param lock missing as long as nobody else can know of the place */
  constructor(place: Place, dataset: string | undefined, lock?: HeldLock) {
    this.place = place;
    this.dataset = dataset;
    this.#locks = lock ? [lock] : [];
  }

  get isLocked(): boolean {
    return this.#locks.length > 0;
  }

  /** The lock of another name that it has got. */
  add(lock: HeldLock): void {
    this.#locks.push(lock);
  }

  /** Before something about it is changed that others may remember. */
  change(): void {
    this.known = undefined;
    for (const lock of this.#locks) lock.change();
  }

  /** The names that it has had mean nothing any more. */
  end(): void {
    for (const lock of this.#locks) lock.end();
  }

  [Symbol.dispose](): void {
    for (const lock of this.#locks.splice(0)) lock[Symbol.dispose]();
  }
}

export interface Remembered {
  readonly generation: string;
  readonly metadata: Metadata;
  readonly branches: readonly string[];
  /** The size of its disk, where that never changes. */
  bytes: number | undefined;
}
