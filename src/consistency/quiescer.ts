import type { ApplicationState, Consistency } from '../model/metadata.ts';

/**
 * One application that is brought to rest around a snapshot, each in its own way: `prepare`, `hold`, then the snapshot is taken,
 * `release`, `finish`. Every step has a time limit, given as a signal: what a step leaves undone when that fires, `release` and the
 * disposal clear up. They are called whatever happens, also after a step that failed half way; and what would outlast this
 * process (a frozen process, a hook's own pause) is also undone by a process of its own, should this one be killed.
 */
export interface Quiescer extends AsyncDisposable {
  /** As it is set: `postgres`, `postgres.second`. */
  readonly name: string;
  /** The level that a snapshot reaches by it. */
  readonly level: Consistency;
  readonly limits: StepLimits;

  /**
   * Connects, and looks whether and how it can be done: all that takes long and disturbs nobody.
   * @throws CoppiceError with what to do about it, when it can't be done
   */
  prepare(scope: Scope, signal: AbortSignal): Promise<Preparation>;

  /** From when this returns until `release` is called the application holds still, or is in whatever state its recipe wants. */
  hold(signal: AbortSignal): Promise<void>;

  /**
   * Lets the application go on, and says so only when that is known. After a `hold` that succeeded it fails where the application has
   * not held still all the time: then there is no snapshot.
   */
  release(signal: AbortSignal): Promise<void>;

  /** What is left to do with the copy before anybody sees it. Only after a `release` that succeeded. */
  finish(copy: Copy, signal: AbortSignal): Promise<ApplicationState>;
}

/** Milliseconds for each step. */
export interface StepLimits {
  readonly prepare: number;
  readonly hold: number;
  readonly release: number;
  readonly finish: number;
}

export const usualLimits: StepLimits = { prepare: 30_000, hold: 10_000, release: 10_000, finish: 600_000 };

/** A volume that a snapshot is taken of. */
export interface Subject {
  readonly volume: string;
  /** The directory of a tree, as an absolute path; of a disk there is none. */
  readonly directory?: string;
}

export interface Scope {
  /** The volume that the application was declared for. */
  readonly subject: Subject;
  /** All of which snapshots are taken by the same operation, that one among them. */
  readonly together: readonly Subject[];
  /** The other directory trees of the pool: what lies in one of them can be named. */
  readonly others?: () => readonly Subject[];
  /** Whether all of them are taken at the same instant. */
  readonly sameInstant: boolean;
  /** Whether `finish` may write into the copy, where `Preparation.amends` asks for that. */
  readonly canAmend: boolean;
}

export interface Preparation {
  /** `finish` writes into the copy. */
  readonly amends?: boolean;
}

/** The snapshot of the application's own volume, which nobody sees yet. */
export interface Copy {
  /** Absent for a disk, and where the storage shows snapshots only later. */
  readonly directory?: string;
}
