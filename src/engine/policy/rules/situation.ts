import type { Hold, SnapshotReason, Verification } from '../../../model/metadata.ts';
import type { Policy } from './policy.ts';

/** What a decision about a snapshot depends on. Times are milliseconds since 1970. */
export interface PolicySnapshot {
  readonly name: string;
  /** Undefined: its metadata can't be read. */
  readonly known: KnownSnapshot | undefined;
}

export interface KnownSnapshot {
  readonly id: string;
  /** What a newer version wrote is none of these, and nobody's to remove. */
  readonly reason: SnapshotReason;
  /** By the clock of the host that took it, which may have been wrong. */
  readonly created: number;
  /** The storage's own order, which never is. */
  readonly generation: bigint;
  readonly hold?: Hold;
  readonly expires?: number;
  readonly verified?: Verification;
  /** The id of the group that it was taken with. */
  readonly group?: string;
  /** It has only parts of an application of another volume, whose snapshot of the same group is there: it goes with that one. */
  readonly isPart?: true;
  /** What depends on it, so that to remove it would only hide it. */
  readonly neededBy?: readonly string[];
  /** It is not there yet: a dry run tells what would be. */
  readonly isPlanned?: true;
}

export interface PolicyVolume {
  readonly name: string;
  /** Undefined: none is declared, and only what expires goes. */
  readonly policy: Policy | undefined;
  /** Nothing of it goes, for a reason that follows "stays: ". */
  readonly spared?: string;
  readonly snapshots: readonly PolicySnapshot[];
}

/** All that decisions are made from. Times are milliseconds since 1970. */
export interface Situation {
  /** All of the pool: of a group that was taken together none goes before all do. */
  readonly volumes: readonly PolicyVolume[];
  /** What the clock says. */
  readonly now: number;
  /** When policies were applied before. */
  readonly runs: readonly number[];
  readonly space: { readonly totalBytes: number; readonly freeBytes: number };
}

export interface Decision {
  readonly volume: string;
  readonly name: string;
  readonly goes: boolean;
  /** Why it goes, or all that it stays for. */
  readonly reasons: readonly string[];
  /** Only of what may go for want of space: the less, the earlier. */
  readonly importance?: number;
}

/** A snapshot of which everything is known that a decision needs. */
export interface Ordered extends KnownSnapshot {
  readonly name: string;
}

/** In the order in which the storage made them, the oldest first. Those that nobody knows the order of are left out. */
export function inOrder(snapshots: readonly PolicySnapshot[]): Ordered[] {
  return snapshots
    .flatMap(({ name, known }) => (known && isPlaced(known) ? [{ ...known, name }] : []))
    .sort((a, b) => compare(a.generation, b.generation) || a.created - b.created || compare(a.name, b.name));
}

export function isPlaced({ created, generation }: KnownSnapshot): boolean {
  return Number.isFinite(created) && generation > 0n;
}

export function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `VOLUME@SNAPSHOT`. */
export function keyOf({ volume, name }: Pick<Decision, 'volume' | 'name'>): string {
  return `${volume}@${name}`;
}
