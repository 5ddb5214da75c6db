import type { Held } from '../../drivers/driver.ts';
import { randomId } from '../../linux/random.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import { rememberedAncestors, type TombstoneMetadata } from '../../model/metadata.ts';
import { formatReference, parseReference } from '../../model/names.ts';
import { openBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdSnapshot, holdVolume } from '../holding.ts';

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
export function remove(context: Context, references: readonly string[], options: RemoveOptions): Removed {
  using held = new DisposableStack();
  const doomed = ordered(references).flatMap((reference) => find(context, reference, options, held));
  const blockers = [
    ...doomed.flatMap((entry) => (options.withSnapshots ? [] : snapshotBlockers(entry, references))),
    ...(options.force || doomed.length === 0
      ? []
      : openBlockers(
          context,
          doomed.map((entry) => entry.held),
        )),
  ];
  const result: Removed = {
    removed: doomed.map((entry) => entry.label),
    snapshots: doomed.flatMap((entry) => entry.snapshots.map((name) => `${entry.label}@${name}`)),
  };
  if (options.dryRun) return { ...result, blockers };
  if (blockers.length > 0) throw blockedBy(`Could not remove ${references.join(', ')}`, blockers);
  for (const entry of doomed) bury(context, entry);
  collectTombstones(context);
  return result;
}

/** Locks are always taken in the order of the names, so that two removals never wait for each other. Snapshots of a volume that goes, go with it. */
function ordered(references: readonly string[]): string[] {
  const volumes = new Set(references.filter((reference) => !reference.includes('@')));
  return [...new Set(references)]
    .filter((reference) => !reference.includes('@') || !volumes.has(parseReference(reference).volume))
    .sort();
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
function bury(context: Context, entry: Doomed): void {
  const { volume, held } = entry;
  context.driver.move(held, { area: 'tombstones', id: randomId() });
  const isVolume = held === volume.held;
  if (isVolume && volume.metadata.origin.length >= rememberedAncestors) {
    // Descendants remember this many ancestors; who lies further back, they learn from this one, so its record stays.
    const record: TombstoneMetadata = {
      type: 'tombstone',
      id: volume.metadata.id,
      name: volume.name,
      removed: new Date().toISOString(),
      origin: volume.metadata.origin,
    };
    context.driver.discardData(held);
    context.driver.write(held, record);
    return;
  }
  context.driver.discard(held);
}

/** Drops the records of lineage that nobody descends from any more. Reads the pool only where such records are. */
function collectTombstones(context: Context): void {
  const ids = context.driver.listEntries('tombstones');
  if (ids.length === 0) return;
  const records = ids.map((id) => ({
    place: { area: 'tombstones', id } as const,
    metadata: context.driver.peek({ area: 'tombstones', id }),
  }));
  const origins = [
    ...context.driver.list().map((record) => record.metadata),
    ...records.map((record) => record.metadata),
  ];
  const needed = new Set(
    origins.flatMap((metadata) =>
      metadata?.type === 'volume' || metadata?.type === 'tombstone'
        ? metadata.origin.map((ancestor) => ancestor.id)
        : [],
    ),
  );
  for (const { place, metadata } of records) {
    if (metadata?.type !== 'tombstone' || needed.has(metadata.id)) continue;
    const held = context.driver.hold(place, 'exclusive', false);
    if (typeof held === 'string') continue;
    using entry = held;
    context.driver.discard(entry);
  }
}
