import { Dataset } from '../../linux/libzfs.ts';
import { failed } from '../../linux/zfs-error.ts';
import { CoppiceError } from '../../model/errors.ts';
import { metadataProperty, nameProperty, poolProperty, splitSnapshot, workProperty } from './layout.ts';

/** What ZFS says about single datasets, asked without a process, and without anything being written. */

/** Properties by name, as text. */
export type Properties = Readonly<Record<string, string>>;

export interface Ancestry {
  readonly name: string;
  readonly guid: string;
  /** Seconds since 1970. */
  readonly created: string;
  /** The snapshot that it is a clone of; empty for none. */
  readonly origin: string;
  readonly metadata: string;
  /** The metadata of that snapshot itself; empty for none. */
  readonly originMetadata: string;
  /** Of a branch, the name that its volume had; else empty. */
  readonly volume: string;
}

const ours = [metadataProperty, nameProperty, workProperty, poolProperty];

/** The user properties of a dataset that are Coppice's and its own, not inherited. */
export function ownOf(dataset: Dataset): Properties {
  const found = ours.map((name) => [name, dataset.ownText(name)]);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined)) as Properties;
}

/** The same by its name; undefined where there is none. */
export function lookAt(name: string): Properties | undefined {
  using dataset = Dataset.open(name);
  return dataset && ownOf(dataset);
}

/** The datasets below one, without their own children; empty also where there is none of that name. */
export function childrenOf(parent: string): readonly string[] {
  using dataset = Dataset.open(parent);
  return dataset ? dataset.eachChild(({ name }) => name) : [];
}

/** A snapshot that was not removed; undefined where there is none of that name. */
export function lookAtSnapshot(name: string): Properties | undefined {
  using snapshot = Dataset.open(name);
  return snapshot && !isDeferred(snapshot) ? ownOf(snapshot) : undefined;
}

/** It was removed, and goes with its last clone. */
export function isDeferred(snapshot: Dataset): boolean {
  return snapshot.property('defer_destroy') === 'on';
}

const ENOENT = 2;

/**
 * The values of properties of one dataset; what it does not have is missing. Numbers are decimal text.
 * @throws ZfsError ENOENT where there is none of that name
 */
export function propertiesOf<K extends string>(
  name: string,
  wanted: readonly K[],
): Partial<Readonly<Record<K, string>>> {
  using dataset = Dataset.open(name);
  if (!dataset) throw failed(ENOENT, 'look at', name);
  return valuesOf(dataset, wanted) as Partial<Record<K, string>>;
}

export function valuesOf(dataset: Dataset, wanted: readonly string[]): Properties {
  const found = wanted.map((name) => [name, dataset.property(name)]);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined)) as Properties;
}

const patience = 10;

/**
 * A dataset and what it was cloned from, the nearest first, up to the first that has metadata of its own: the others were cloned
 * in one step, and what they would say of themselves ZFS knows already.
 */
export function ancestryOf(name: string): readonly Ancestry[] {
  for (let attempt = 1; ; attempt++) {
    const found = readAncestry(name);
    // Whoever rolls an ancestor back meanwhile gives other names to what was read.
    if (found?.every((each) => originOf(each.name) === each.origin)) return found;
    if (attempt === patience)
      throw new CoppiceError('busy', `What ${name} was cloned from is being rolled back; try again.`);
  }
}

/** Undefined when what something was cloned from is not where it was a moment ago. */
function readAncestry(first: string): readonly Ancestry[] | undefined {
  const found: Ancestry[] = [];
  for (let name = first; name !== ''; ) {
    using dataset = Dataset.open(name);
    if (!dataset) break;
    const origin = dataset.property('origin') ?? '';
    const metadata = dataset.ownText(metadataProperty) ?? '';
    const ofOrigin = origin === '' ? {} : lookAt(origin);
    if (!ofOrigin) return undefined;
    found.push({
      name,
      guid: dataset.property('guid') ?? '0',
      created: dataset.property('creation') ?? '0',
      origin,
      metadata,
      originMetadata: ofOrigin[metadataProperty] ?? '',
      volume: dataset.ownText(nameProperty) ?? '',
    });
    if (metadata !== '' && found.length > 1) break;
    [name] = splitSnapshot(origin);
  }
  return found;
}

function originOf(name: string): string {
  using dataset = Dataset.open(name);
  return dataset?.property('origin') ?? '';
}
