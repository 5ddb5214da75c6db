import { isInternal, type Layout, splitSnapshot } from './layout.ts';

/** What ZFS counts for a dataset, in bytes. */
export interface Counted {
  /** Charged to it and to its snapshots. */
  readonly used: number;
  /** Written since its last snapshot. */
  readonly written: number;
  /** The snapshot that it is a clone of; empty for none. */
  readonly origin: string;
  readonly snapshots: readonly CountedSnapshot[];
}

export interface CountedSnapshot {
  readonly name: string;
  /** Referred to by no other snapshot of the dataset, and not by the dataset itself. */
  readonly used: number;
  /** It was removed, and goes with its last clone. */
  readonly deferred: boolean;
  readonly clones: readonly string[];
}

/**
 * What would be free if a volume were removed. ZFS charges what a clone shares with something that was removed to that, which only
 * the clone keeps alive.
 */
export function exclusiveOf(
  layout: Layout,
  dataset: string,
  countedAt: (dataset: string) => Counted | undefined,
): number {
  const own = countedAt(dataset);
  if (!own) return 0;
  // Its snapshots stay, and with them what it was cloned from.
  const isKept = own.snapshots.some((snapshot) => isVisible(snapshot) || snapshot.clones.length > 0);
  return isKept ? own.written : own.used + freedWithOrigin(layout, dataset, own.origin, countedAt);
}

/** What would be free if a snapshot were removed: nothing, as long as something was cloned from it. */
export function exclusiveOfSnapshot(used: number, hasClones: boolean): number {
  return hasClones ? 0 : used;
}

function freedWithOrigin(
  layout: Layout,
  clone: string,
  origin: string,
  countedAt: (dataset: string) => Counted | undefined,
): number {
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
  return snapshot.deferred ? snapshot.used : 0;
}

/** Whether a user sees it, so that it stays when what was cloned from it goes. */
export function isVisible({ name, deferred }: Pick<CountedSnapshot, 'name' | 'deferred'>): boolean {
  return !deferred && !isInternal(splitSnapshot(name)[1]);
}
