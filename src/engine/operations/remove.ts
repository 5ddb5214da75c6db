import type { Held } from '../../drivers/driver.ts';
import { hasErrno } from '../../linux/libc.ts';
import { randomId } from '../../linux/random.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import {
  type Metadata,
  rememberedAncestors,
  type TombstoneMetadata,
  type VolumeMetadata,
} from '../../model/metadata.ts';
import { formatReference, parseReference } from '../../model/names.ts';
import { mountBlockers, openBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { type Control, progressOf } from '../control.ts';
import { type HeldVolume, holdSnapshot, holdVolume } from '../holding.ts';
import { timestamp } from '../timestamp.ts';

export interface RemoveOptions {
  /** Remove a volume although it has snapshots, and those with it. */
  readonly withSnapshots?: boolean;
  /** Go on although somebody has the disk open. */
  readonly force?: boolean;
  /** A name that is not there is fine. */
  readonly ifExists?: boolean;
  readonly dryRun?: boolean;
}

export interface Removed {
  /** What was removed, or would be: `NAME` or `VOLUME@SNAPSHOT`. */
  readonly removed: readonly string[];
  /** Snapshots that go with their volume. */
  readonly snapshots: readonly string[];
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
}

interface Doomed {
  readonly label: string;
  readonly held: Held;
  readonly volume: HeldVolume;
  readonly snapshots: readonly string[];
}

/**
 * Removes volumes, templates and snapshots. Everything is looked at first: if one of them can't go, none goes. Clones live on.
 * A name is gone at once; the kernel frees the space a little later.
 */
export function remove(
  context: Context,
  references: readonly string[],
  options: RemoveOptions,
  control: Control,
): Removed {
  const result = removeAll(context, references, options, control);
  // Only now, when their locks are gone, can the records of what was just removed be looked at.
  if (!options.dryRun) collectTombstones(context);
  return result;
}

function removeAll(
  context: Context,
  references: readonly string[],
  options: RemoveOptions,
  control: Control,
): Removed {
  using held = new DisposableStack();
  const doomed = ordered(references).flatMap((reference) => find(context, reference, options, held));
  const places = doomed.map((entry) => entry.held);
  const blockers = [
    ...mountBlockers(context, places),
    ...doomed.flatMap((entry) => (options.withSnapshots ? [] : snapshotBlockers(entry, references))),
    ...(options.force || doomed.length === 0 ? [] : openBlockers(context, places)),
  ];
  const result: Removed = {
    removed: doomed.map((entry) => entry.label),
    snapshots: doomed.flatMap((entry) => entry.snapshots.map((name) => `${entry.label}@${name}`)),
  };
  if (options.dryRun) return { ...result, blockers };
  if (blockers.length > 0) throw blockedBy(`Could not remove ${references.join(', ')}`, blockers);
  for (const [index, entry] of doomed.entries()) {
    bury(context, entry);
    if (doomed.length > 1) control.report(progressOf('removing', index + 1, doomed.length));
  }
  return result;
}

/** Locks are always taken in the order of the names, so that two removals never wait for each other. Snapshots of a volume that goes, go with it. */
function ordered(references: readonly string[]): string[] {
  const volumes = new Set(references.filter((reference) => !reference.includes('@')));
  return [...new Set(references)]
    .filter((reference) => !reference.includes('@') || !volumes.has(parseReference(reference).volume))
    .sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

/** "@" comes after digits and "-": compared as they are, dd-10 would lie between dd-1 and dd-1@s, which have one lock. */
function orderOf(reference: string): string {
  return reference.replace('@', '\0');
}

function find(context: Context, text: string, options: RemoveOptions, stack: DisposableStack): Doomed[] {
  const reference = parseReference(text);
  try {
    const volume = stack.use(
      holdVolume(context, reference.volume, reference.snapshot ? 'shared' : 'exclusive'),
    );
    const label = formatReference(reference);
    if (reference.snapshot) {
      return [
        {
          label,
          volume,
          held: stack.use(holdSnapshot(context, volume, reference.snapshot, 'exclusive')),
          snapshots: [],
        },
      ];
    }
    const snapshots = context.driver.listSnapshots(reference.volume).map((snapshot) => snapshot.name);
    return [{ label, volume, held: volume.held, snapshots }];
  } catch (error) {
    if (options.ifExists && error instanceof CoppiceError && error.code === 'not_found') return [];
    throw error;
  }
}

function snapshotBlockers(entry: Doomed, named: readonly string[]): Blocker[] {
  const unnamed = entry.snapshots.filter((name) => !named.includes(`${entry.label}@${name}`));
  return unnamed.map((name) => ({
    kind: 'snapshots',
    what: `${entry.label} has the snapshot ${name}`,
    remedy: 'remove its snapshots first, or use --with-snapshots',
  }));
}

/** One rename, and it is gone for everybody; destroying the data can be interrupted, the next opening of the pool goes on. */
function bury(context: Context, { volume, held }: Doomed): void {
  try {
    // The name goes into the id, because the record of a removed volume needs it and its metadata does not have it.
    context.driver.move(held, { area: 'tombstones', id: `${volume.name}.${randomId()}` });
  } catch (error) {
    if (!hasErrno(error, 'ENOSPC')) throw error;
    destroyInPlace(context, held, error);
    return;
  }
  finishRemoval(context, held);
}

/**
 * The way out of a pool that is so full that no name can be moved: what deletes may use the file system's reserve. When it is
 * interrupted, a volume without a disk is left, which can be removed again. A record that descendants need can't be kept, so then
 * something else has to go first.
 */
function destroyInPlace(context: Context, held: Held, noSpace: unknown): void {
  if (needsRecord(context.driver.read(held))) throw noSpace;
  context.driver.discard(held);
  if (context.driver.exists(held.place)) throw noSpace;
}

/**
 * Destroys what lies in a tombstone. Of a volume so deep that its descendants learn their further ancestors only from it, the
 * record stays. Returns whether there was anything to do.
 */
export function finishRemoval(context: Context, held: Held): boolean {
  const metadata = context.driver.read(held);
  if (metadata?.type === 'tombstone') return false;
  if (!needsRecord(metadata)) {
    context.driver.discard(held);
    return true;
  }
  const buried = held.place.area === 'tombstones' ? held.place.id : '';
  const record: TombstoneMetadata = {
    type: 'tombstone',
    id: metadata.id,
    name: buried.slice(0, buried.lastIndexOf('.')),
    removed: timestamp(),
    origin: metadata.origin,
  };
  context.driver.discardData(held);
  context.driver.write(held, record);
  return true;
}

function needsRecord(metadata: Metadata | undefined): metadata is VolumeMetadata {
  return metadata?.type === 'volume' && metadata.origin.length >= rememberedAncestors;
}

/** Drops the records of lineage that nobody descends from any more. Reads the pool only where such records are. */
function collectTombstones(context: Context): void {
  const records = context.driver.listEntries('tombstones').flatMap((id) => {
    const place = { area: 'tombstones', id } as const;
    const metadata = context.driver.peek(place);
    return metadata?.type === 'tombstone' ? [{ place, metadata }] : [];
  });
  if (records.length === 0) return;
  const needed = ancestorsOfTheLiving(
    context,
    new Map(records.map(({ metadata }) => [metadata.id, metadata])),
  );
  for (const { place, metadata } of records) {
    if (needed.has(metadata.id)) continue;
    const held = context.driver.hold(place, 'exclusive', false);
    if (typeof held === 'string') continue;
    using entry = held;
    context.driver.discard(entry);
  }
}

/** The ids of all ancestors of what there is, also of those that only a record remembers. */
function ancestorsOfTheLiving(
  context: Context,
  records: ReadonlyMap<string, TombstoneMetadata>,
): ReadonlySet<string> {
  const ancestors = new Set<string>();
  const pending = context.driver
    .list()
    .flatMap(({ metadata }) => (metadata?.type === 'volume' ? metadata.origin : []));
  for (let next = pending.pop(); next; next = pending.pop()) {
    if (ancestors.has(next.id)) continue;
    ancestors.add(next.id);
    pending.push(...(records.get(next.id)?.origin ?? []));
  }
  return ancestors;
}
