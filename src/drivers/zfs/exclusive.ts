import { isInternal, type Layout, splitSnapshot } from './layout.ts';

/** What ZFS counts for a dataset, in bytes. */
export interface Counted {
  /** Charged to it and to its snapshots. */
  readonly used: number;
  /** Written since its last snapshot. */
  readonly written: number;
  /** The snapshot that it is a clone of; empty for none. */
  readonly origin: string;
  /** The oldest first. */
  readonly snapshots: readonly CountedSnapshot[];
}

/** Reads what ZFS counts for a dataset; undefined where there is none. */
export type Count = (dataset: string) => Counted | undefined;

/** For looking at many, which come from few. */
export function remembering(count: Count): Count {
  const known = new Map<string, Counted | undefined>();
  return (dataset) => {
    if (!known.has(dataset)) known.set(dataset, count(dataset));
    return known.get(dataset);
  };
}

export interface CountedSnapshot {
  readonly name: string;
  /** Referred to by no other snapshot of the dataset, and not by the dataset itself. */
  readonly used: number;
  /** Written between the snapshot before it and itself. */
  readonly written: number;
  /** It was removed, and goes with its last clone. */
  readonly deferred: boolean;
  readonly clones: readonly string[];
}

/**
 * What would be free if a volume were removed. ZFS charges what a clone shares with something that was removed to that, which only
 * the clone keeps alive.
 */
export function exclusiveOf(layout: Layout, dataset: string, countedAt: Count): number {
  const own = countedAt(dataset);
  if (!own) return 0;
  // Its snapshots stay, and with them what it was cloned from.
  const isKept = own.snapshots.some((snapshot) => isVisible(snapshot) || snapshot.clones.length > 0);
  return isKept ? own.written : own.used + freedWithOrigin(layout, dataset, own.origin, countedAt);
}

/** What would be free if a snapshot were removed: nothing, as long as something was cloned from it. */
export function exclusiveOfSnapshot(
  layout: Layout,
  { name, used, hasClones }: { readonly name: string; readonly used: number; readonly hasClones: boolean },
  countedAt: Count,
): number {
  const [dataset] = splitSnapshot(name);
  if (hasClones) return 0;
  if (!dataset.startsWith(`${layout.branches}/`)) return used;
  // A former state is there for its snapshots alone, but ZFS counts it as one that refers to the same as its last.
  const branch = countedAt(dataset);
  const last = branch?.snapshots.at(-1);
  if (!branch || last?.name !== name) return used;
  if (branch.snapshots.length === 1)
    return branch.used + freedWithOrigin(layout, dataset, branch.origin, countedAt);
  return last.written + branch.written;
}

function freedWithOrigin(layout: Layout, clone: string, origin: string, countedAt: Count): number {
  const [dataset] = splitSnapshot(origin);
  const isRemoved = [layout.tombstones, layout.branches].some((area) => dataset.startsWith(`${area}/`));
  const parent = origin === '' ? undefined : countedAt(dataset);
  const snapshot = parent?.snapshots.find(({ name }) => name === origin);
  if (!parent || !snapshot || snapshot.clones.some((name) => name !== clone)) return 0;
  const others = parent.snapshots.filter((each) => each !== snapshot);
  if (
    isRemoved &&
    !isVisible(snapshot) &&
    others.every((each) => !isVisible(each) && each.clones.length === 0)
  )
    return parent.used + freedWithOrigin(layout, dataset, parent.origin, countedAt);
  if (!snapshot.deferred) return 0;
  // Of what was removed, the newest state goes with the last snapshot.
  return isRemoved && parent.snapshots.at(-1) === snapshot
    ? snapshot.written + parent.written
    : snapshot.used;
}

/** Whether a user sees it, so that it stays when what was cloned from it goes. */
export function isVisible({ name, deferred }: Pick<CountedSnapshot, 'name' | 'deferred'>): boolean {
  return !deferred && !isInternal(splitSnapshot(name)[1]);
}
