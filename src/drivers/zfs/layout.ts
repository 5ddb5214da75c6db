import { zpoolOf } from '../../linux/zfs-core.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Place } from '../driver.ts';

/**
 * Where things lie in a pool that is a dataset. Volumes are its children, under the names that people give them; what is Coppice's
 * alone lies below `.coppice`. A colon stands in no name that a user can give, so what has one is ours.
 */
export interface Layout {
  readonly dataset: string;
  /** The pool in the sense of zpool(8). */
  readonly zpool: string;
  readonly own: string;
  readonly staging: string;
  readonly tombstones: string;
  /** Former states of volumes that were rolled back, kept because of the snapshots on them: `VOLUME-ID.ENTRY-ID`. */
  readonly branches: string;
}

export const metadataProperty = 'coppice:metadata';
/** On a branch: the name of its volume when that was rolled back. */
export const nameProperty = 'coppice:name';
/** What a staged entry says about the work that is under way. */
export const workProperty = 'coppice:work';
/** On the dataset of the pool. Its children inherit it, and nothing reads it there. */
export const poolProperty = 'coppice:pool';

/** The snapshot that clones of a template are made from. */
export const templateSnapshot = 'coppice:template';

/** The snapshot that a copy of something that still changes is made from. It goes with its last clone. */
export function originSnapshot(id: string): string {
  return `coppice:origin-${id}`;
}

export function isOrigin(snapshot: string): boolean {
  return snapshot.startsWith('coppice:origin-');
}

/** Whether a snapshot was made by Coppice for itself. */
export function isInternal(snapshot: string): boolean {
  return snapshot.startsWith('coppice:');
}

export function layoutOf(dataset: string): Layout {
  const own = `${dataset}/.coppice`;
  return {
    dataset,
    zpool: zpoolOf(dataset),
    own,
    staging: `${own}/staging`,
    tombstones: `${own}/tombstones`,
    branches: `${own}/branches`,
  };
}

/** The zvol of a staged entry; the entry itself is a dataset beside it, which has only properties. */
export function dataOf(entry: string): string {
  return `${entry}:data`;
}

/** The id of the entry that a dataset below an area belongs to. */
export function entryIdOf(name: string): string {
  return lastPart(name).replace(/:data$/, '');
}

export function lastPart(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** A dataset and its snapshot. */
export function splitSnapshot(name: string): readonly [dataset: string, snapshot: string] {
  const at = name.indexOf('@');
  return at < 0 ? [name, ''] : [name.slice(0, at), name.slice(at + 1)];
}

/** The name of a staged entry's or tombstone's own dataset. */
export function entryOf(layout: Layout, place: Place): string {
  if (place.area === 'staging') return `${layout.staging}/${place.id}`;
  if (place.area === 'tombstones') return `${layout.tombstones}/${place.id}`;
  throw new CoppiceError('io_error', `what lies in ${place.area} is no entry`);
}
