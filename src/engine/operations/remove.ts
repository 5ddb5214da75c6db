import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Hold, Metadata, TombstoneMetadata } from '../../model/metadata.ts';
import { formatReference, type Name, parseReference } from '../../model/names.ts';
import { mountBlockers, openBlockers, othersBlockers } from '../blockers.ts';
import { buryTogether, type Doomed } from '../bury-together.ts';
import type { Context } from '../context.ts';
import { type Control, progressOf } from '../control.ts';
import { endBranch } from '../end-branch.ts';
import { goesWith, goesWithOneOf, neededBlockers } from '../goes-with.ts';
import { type HeldVolume, holdSnapshot, holdVolume } from '../holding.ts';
import { inLockOrder } from '../order.ts';
import { nameOfVolume } from '../partners.ts';
import { declaredLeads, partBlockers } from '../parts.ts';
import { finishRollbacksOf } from '../recover-rollback.ts';
import { snapshotsOf, volumesOf } from '../visible.ts';

export interface RemoveOptions {
  /** Remove a volume although it has snapshots, and those with it. */
  readonly withSnapshots?: boolean;
  /** Go on although somebody has the disk open. */
  readonly force?: boolean;
  /** A name that is not there is fine. */
  readonly ifExists?: boolean;
  readonly dryRun?: boolean;
}

/** For whoever has decided by what he has seen before. */
export interface Condition {
  /** Whether what is held is still what he has seen; else it is left alone. */
  readonly isStill: (reference: string, metadata: Metadata | undefined) => boolean;
}

export interface Removed {
  /** What was removed, or would be: `NAME` or `VOLUME@SNAPSHOT`. */
  readonly removed: readonly string[];
  /** Snapshots that go with their volume. */
  readonly snapshots: readonly string[];
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** What is removed and not destroyed yet, so that its space is not free; absent when there is nothing of that kind. */
  readonly warnings?: readonly string[];
}

interface Found extends Doomed {
  /** The names of its snapshots. */
  readonly snapshots: readonly string[];
  /** Those that somebody wants to stay: itself, or snapshots of it. */
  readonly heldBack: ReadonlyArray<{ readonly reference: string; readonly hold: Hold }>;
  /** The volume, where a change to it is being tried that needs what is to go. */
  readonly guarded: readonly string[];
  /** It has servers of its own. */
  readonly branch?: HeldVolume;
  /** It is a clone that servers of a branch have parts in. */
  readonly isOfBranch: boolean;
  readonly metadata: Metadata | undefined;
}

/**
 * Removes volumes, templates and snapshots. Everything is looked at first: if one of them can't go, none goes. All names are
 * gone in one step; the kernel frees the space a little later. Clones live on.
 */
export function remove(
  context: Context,
  references: readonly string[],
  options: RemoveOptions & Partial<Condition>,
  control: Control,
): Removed {
  const began = performance.now();
  const result = removeAll(context, references, options, control);
  // Only now, when their locks are gone, can the records of what was just removed be looked at.
  if (!options.dryRun) {
    const along = result.removed.filter((reference) => !references.includes(reference));
    if (along.length > 0) context.audit?.append('remove', [along, {}], began, undefined);
    try {
      collectTombstones(context);
    } catch {
      // What was asked for is removed; the next removal looks at the records again.
    }
  }
  return result;
}

function removeAll(
  context: Context,
  references: readonly string[],
  options: RemoveOptions & Partial<Condition>,
  control: Control,
): Removed {
  using held = new DisposableStack();
  const along = goesWith(context, references).filter((reference) => !references.includes(reference));
  const found = ordered([...references, ...along]).flatMap((reference) =>
    find(context, reference, along.includes(reference) ? { ifExists: true } : options, held),
  );
  // What was to go with something stays where that stays.
  const doomed = found.filter(
    (entry) => !along.includes(entry.label) || goesWithOneOf(entry.metadata, found),
  );
  const all = doomed.map(({ label }) => label);
  const places = doomed.map((entry) => entry.held);
  const blockers: Blocker[] = [
    ...mountBlockers(context, places),
    ...othersBlockers(context, places),
    ...doomed.flatMap(({ heldBack }) => heldBack.map(holdBlocker)),
    ...doomed.flatMap((entry) =>
      options.withSnapshots ? [] : snapshotBlockers(entry, [...references, ...all]),
    ),
    ...doomed.flatMap(({ guarded }) => guarded.map(guardBlocker)),
    ...doomed.flatMap(({ label, metadata }) => neededBlockers(context, label, metadata, all)),
    ...doomed.flatMap((entry) => neededOf(context, entry, all)),
    ...doomed.flatMap((entry) => branchBlockers(context, entry, doomed)),
    ...leadBlockers(context, doomed, all),
  ];
  const users = doomed.filter(({ branch, isOfBranch }) => !branch && !isOfBranch).map((entry) => entry.held);
  if (!options.force && users.length > 0) blockers.push(...openBlockers(context, users));
  const result: Removed = {
    removed: doomed.map((entry) => entry.label),
    snapshots: doomed.flatMap((entry) => entry.snapshots.map((name) => `${entry.label}@${name}`)),
  };
  if (options.dryRun) return { ...result, blockers };
  if (blockers.length > 0) throw blockedBy(`Could not remove ${references.join(', ')}`, blockers);
  endBranches(context, doomed, options.force ?? false);
  const warnings = buryTogether(context, doomed, (done) => {
    if (doomed.length > 1) control.report(progressOf('removing', done, doomed.length));
  });
  return warnings.length > 0 ? { ...result, warnings } : result;
}

/** The servers of a branch go with it; who else uses it stands in the way as of any volume. @throws CoppiceError blocked */
function endBranches(context: Context, doomed: readonly Found[], force: boolean): void {
  for (const { branch } of doomed) if (branch) endBranch(context, branch);
  for (const { branch, isOfBranch, held, label } of doomed) {
    if (!branch && !isOfBranch) continue;
    const blockers = force ? [] : openBlockers(context, [held]);
    if (blockers.length > 0) throw blockedBy(`Could not remove ${label}`, blockers);
  }
}

/** The same of the snapshots that go with a volume. */
function neededOf(
  context: Context,
  { label, held, snapshots, metadata: of }: Found,
  all: readonly string[],
): Blocker[] {
  // Of disks there are no parts.
  if (of?.type !== 'volume' || of.kind !== 'tree') return [];
  return snapshots.flatMap((name) => {
    const metadata = context.driver.peek({ area: 'snapshots', volume: held, name: name as Name });
    return neededBlockers(context, `${label}@${name}`, metadata, all);
  });
}

/** What an application has parts in goes with that, or not at all. Of a branch the branch says so. */
function leadBlockers(context: Context, doomed: readonly Found[], all: readonly string[]): Blocker[] {
  const trees = doomed.filter(
    ({ metadata }) =>
      metadata?.type === 'volume' && metadata.kind === 'tree' && metadata.branchOf === undefined,
  );
  if (trees.length === 0) return [];
  const leads = declaredLeads(context);
  return trees.flatMap(({ label }) =>
    partBlockers(
      label,
      (leads.get(label) ?? []).filter((lead) => !all.includes(lead)),
    ),
  );
}

/** What the servers of a branch have parts in goes with the branch. */
function branchBlockers(context: Context, { metadata, label }: Found, doomed: readonly Found[]): Blocker[] {
  if (metadata?.type !== 'volume' || metadata.branchOf === undefined) return [];
  if (goesWithOneOf(metadata, doomed)) return [];
  const branch = nameOfVolume(context, metadata.branchOf);
  if (branch === undefined) return [];
  const remedy = `remove that with "coppice remove ${branch}"`;
  return [{ kind: 'volumes', what: `the branch ${branch} has parts of its database in ${label}`, remedy }];
}

/** Snapshots of a volume that goes, go with it. */
function ordered(references: readonly string[]): string[] {
  const volumes = new Set(references.filter((reference) => !reference.includes('@')));
  return inLockOrder(references).filter(
    (reference) => !reference.includes('@') || !volumes.has(parseReference(reference).volume),
  );
}

function find(
  context: Context,
  text: string,
  options: RemoveOptions & Partial<Condition>,
  stack: DisposableStack,
): Found[] {
  const reference = parseReference(text);
  try {
    const volume = stack.use(
      holdVolume(context, reference.volume, reference.snapshot ? 'shared' : 'exclusive'),
    );
    const label = formatReference(reference);
    const { name } = volume;
    finishRollbacksOf(context, volume);
    if (reference.snapshot) {
      const held = stack.use(holdSnapshot(context, volume, reference.snapshot, 'exclusive'));
      const metadata = context.driver.read(held);
      if (options.isStill?.(label, metadata) === false) return [];
      const isGuarded =
        volume.metadata.guards?.some(({ snapshot }) => snapshot === reference.snapshot) ?? false;
      return [
        {
          label,
          name,
          held,
          snapshots: [],
          heldBack: heldBackBy(label, metadata),
          guarded: isGuarded ? [name] : [],
          isOfBranch: false,
          metadata,
        },
      ];
    }
    const records = snapshotsOf(context, name);
    const heldBack = records.flatMap((each) => heldBackBy(`${name}@${each.name}`, each.metadata));
    return [
      {
        label,
        name,
        held: volume.held,
        snapshots: records.map((each) => each.name),
        heldBack,
        guarded: volume.metadata.guards ? [name] : [],
        isOfBranch: volume.metadata.branchOf !== undefined,
        metadata: volume.metadata,
        ...(volume.metadata.branch && { branch: volume }),
      },
    ];
  } catch (error) {
    if (options.ifExists && error instanceof CoppiceError && error.code === 'not_found') return [];
    throw error;
  }
}

function snapshotBlockers(entry: Found, named: readonly string[]): Blocker[] {
  const unnamed = entry.snapshots.filter((name) => !named.includes(`${entry.label}@${name}`));
  return unnamed.map((name) => ({
    kind: 'snapshots',
    what: `${entry.label} has the snapshot ${name}`,
    remedy: 'remove its snapshots first, or use --with-snapshots',
  }));
}

function heldBackBy(reference: string, metadata: Metadata | undefined): Found['heldBack'] {
  return metadata?.type === 'snapshot' && metadata.hold ? [{ reference, hold: metadata.hold }] : [];
}

/** It is what a change can be undone to that is being tried. */
function guardBlocker(volume: string): Blocker {
  return {
    kind: 'guard',
    what: `a change to ${volume} is being tried`,
    remedy: `wait until it has ended, or look at it with "coppice guard ${volume} --status"`,
  };
}

/** No force helps: who wants it to go releases it first. */
function holdBlocker({ reference, hold }: Found['heldBack'][number]): Blocker {
  return {
    kind: 'held',
    what: `${reference} is held${hold.reason === undefined ? '' : `: ${hold.reason}`}`,
    remedy: `release it with "coppice release ${reference}"`,
  };
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
  const pending = volumesOf(context).flatMap(({ metadata }) =>
    metadata?.type === 'volume' ? metadata.origin : [],
  );
  for (let next = pending.pop(); next; next = pending.pop()) {
    if (ancestors.has(next.id)) continue;
    ancestors.add(next.id);
    pending.push(...(records.get(next.id)?.origin ?? []));
  }
  return ancestors;
}
