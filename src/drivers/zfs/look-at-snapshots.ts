import { Dataset } from '../../linux/libzfs.ts';
import type { Counted } from './exclusive.ts';
import { isInternal, splitSnapshot } from './layout.ts';
import { isDeferred, ownOf, type Properties, valuesOf } from './look.ts';

/** What ZFS says about the snapshots of datasets and what was cloned from them. */

/** Of each snapshot of a dataset; empty also where there is no such dataset. */
function ofEach<T>(name: string, look: (snapshot: Dataset) => T): readonly T[] {
  using dataset = Dataset.open(name);
  return dataset ? dataset.eachSnapshot(look) : [];
}

export interface SnapshotState {
  readonly name: string;
  /** It goes when its last clone goes, and is there for nobody. */
  readonly deferred: boolean;
}

export function snapshotsOn(name: string): readonly SnapshotState[] {
  return ofEach(name, (snapshot) => ({ name: snapshot.name, deferred: isDeferred(snapshot) }));
}

/** Of some of the datasets below one, how many have a snapshot: between 0 and 1. */
export function shareWithSnapshots(parent: string): number {
  using dataset = Dataset.open(parent);
  // In the order of hashes of their names, so that the first are a fair sample.
  const has = dataset?.eachChild(hasSnapshots, 8) ?? [];
  return has.length === 0 ? 0 : has.filter(Boolean).length / has.length;
}

/** What comes before a dataset is its last snapshot or, where it has none, its origin. */
function hasSnapshots(dataset: Dataset): boolean {
  const previous = dataset.property('prevsnap');
  return previous !== undefined && previous !== dataset.property('origin');
}

export interface FoundSnapshot {
  readonly name: string;
  readonly values: Properties;
  readonly properties: Properties;
  readonly hasClones: boolean;
}

/** The snapshots of datasets that a user sees, each with the values of some properties and with its own user properties. */
export function snapshotsWith(
  datasets: readonly string[],
  wanted: readonly string[],
): readonly FoundSnapshot[] {
  return datasets.flatMap((name) =>
    ofEach(name, (snapshot) =>
      isInternal(splitSnapshot(snapshot.name)[1]) || isDeferred(snapshot)
        ? []
        : [
            {
              name: snapshot.name,
              values: valuesOf(snapshot, wanted),
              properties: ownOf(snapshot),
              hasClones: snapshot.clones().length > 0,
            },
          ],
    ).flat(),
  );
}

/** What ZFS counts for a dataset and for each of its snapshots; undefined where there is none. */
export function countedAt(name: string): Counted | undefined {
  using dataset = Dataset.open(name);
  if (!dataset) return undefined;
  return {
    used: Number(dataset.property('used')),
    written: Number(dataset.property('written')),
    origin: dataset.property('origin') ?? '',
    snapshots: dataset
      .eachSnapshot((snapshot) => ({
        name: snapshot.name,
        createdIn: Number(snapshot.property('createtxg')),
        used: Number(snapshot.property('used')),
        written: Number(snapshot.property('written')),
        deferred: isDeferred(snapshot),
        clones: snapshot.clones(),
      }))
      .sort((a, b) => a.createdIn - b.createdIn),
  };
}

/** What was cloned from a snapshot, or from all that a dataset has. */
export function clonesOf(name: string | undefined): readonly string[] {
  if (name === undefined) return [];
  const [dataset, only] = splitSnapshot(name);
  return ofEach(dataset, (snapshot) =>
    only === '' || snapshot.name === name ? snapshot.clones() : [],
  ).flat();
}
