import type { Held } from '../../drivers/driver.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { RollbackIntent, SnapshotMetadata } from '../../model/metadata.ts';
import { formatReference, type Name, parseSnapshotReference } from '../../model/names.ts';
import { openBlockers, stuckMountBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { busy } from '../failures.ts';
import { type HeldVolume, holdSnapshot, holdVolume, requireUnsealed } from '../holding.ts';
import { nestedIn, problemsOf, problemsOfSnapshot } from '../problems.ts';
import { abandon, publishNumbered, staging, timestampName } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { removeStale } from '../stale-files.ts';
import { volumesOf } from '../visible.ts';

/** The mark goes to the snapshot that keeps the replaced state. */
export interface RollbackOptions extends Marked {
  /** Go on although somebody has the disk open: he keeps the replaced state, and his later writes are lost. */
  readonly force?: boolean;
  readonly dryRun?: boolean;
  /** Stop what runs on the volume, as its settings `stop.unit` or `stop.hook` say, and start it again afterwards. */
  readonly stop?: boolean;
}

export interface RolledBack {
  readonly volume: string;
  readonly snapshot: string;
  /**
   * `VOLUME@NAME` of the state that was replaced: rolling back to it undoes this rollback. Absent in a dry run, and when there was
   * nothing to keep, because the disk was gone.
   */
  readonly undo?: string;
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** What was changed behind Coppice's back in the snapshot: one sentence each. */
  readonly warnings?: readonly string[];
}

/**
 * Puts a volume back to one of its snapshots in one atomic step. Newer snapshots stay, and the state that is replaced is kept as
 * a snapshot, so that this can itself be undone.
 *
 * The order of the steps makes every crash safe: the new state is staged; an intent with the ids of both sides is written; the
 * two are exchanged; then the replaced state, which now lies in the staged entry, is kept as a read-only snapshot. A snapshot
 * taken before the exchange would miss what is written in between. `recoverRollback` finishes what a crash interrupted.
 */
export function rollback(context: Context, referenceText: string, options: RollbackOptions): RolledBack {
  const reference = parseSnapshotReference(referenceText);
  const mark = requestMark(options);
  const action = `roll back ${reference.volume} to ${reference.snapshot}`;
  requireSpace(context, action, 0);
  using volume = holdVolume(context, reference.volume, 'exclusive');
  requireUnsealed(volume, action);
  using target = holdSnapshot(context, volume, reference.snapshot, 'shared');
  context.driver.size(target); // a snapshot that has lost its disk is nothing to go back to
  requireKeepable(context, volume);
  const blockers = [
    ...stuckMountBlockers(context, [volume.held]),
    ...(options.force ? [] : openBlockers(context, [volume.held])),
  ];
  const warnings = problemsOfSnapshot(context, volume, formatReference(reference), target);
  const result = {
    volume: volume.name,
    snapshot: reference.snapshot,
    ...(warnings.length > 0 && { warnings }),
  };
  if (options.dryRun) return { ...result, blockers };
  if (blockers.length > 0) throw blockedBy(`Could not ${action}`, blockers);
  const kept = exchange(context, volume, target, {
    snapshot: reference.snapshot,
    mark,
    force: options.force ?? false,
  });
  return { ...result, ...(kept !== undefined && { undo: `${volume.name}@${kept}` }) };
}

/** What is replaced must be kept, and a snapshot must be able to hold all of it. @throws CoppiceError damaged */
function requireKeepable(context: Context, { name, metadata, held }: HeldVolume): void {
  const state = context.driver.inspect(held);
  const [problem] = [
    ...(state && !state.isWhole ? problemsOf(name, metadata, state) : []),
    ...nestedIn(context, name, held),
  ];
  if (problem !== undefined) throw new CoppiceError('damaged', problem);
}

interface Exchange {
  readonly snapshot: Name;
  readonly mark: Marked;
  readonly force: boolean;
}

function exchange(
  context: Context,
  volume: HeldVolume,
  target: Held,
  { snapshot, mark, force }: Exchange,
): Name | undefined {
  using staged = context.driver.stage();
  let exchanged = false;
  try {
    context.driver.stageRollback(target, staged);
    removeStale(context, volume, staged);
    // A payload that somebody deleted can be rolled back too: there is nothing to keep then.
    if (!context.driver.payloadUuid(volume.held)) {
      context.driver.adopt(volume.held, staged);
      abandon(context, staged);
      return undefined;
    }
    const intent = announce(context, volume, staged, snapshot, mark);
    context.driver.exchange(volume.held, staged);
    exchanged = true;
    context.driver.switchMounts?.(staged, volume.held);
    if (!force) requireUnused(context, volume, staged);
    return keepReplaced(context, volume.held, staged, intent);
  } catch (error) {
    // What was replaced lies in the staged entry now. If it can't go back either, it stays there, and the next opening of the pool keeps it.
    if (!exchanged || takenBack(context, volume.held, staged)) abandon(context, staged);
    throw error;
  }
}

/**
 * Somebody may have opened what is replaced between the first look and the exchange; since then nobody can. What he writes would be
 * lost. Of a disk the first look has been the last moment: who has one open is seen by a lease, which is not taken twice.
 * @throws CoppiceError blocked
 */
function requireUnused(context: Context, volume: HeldVolume, staged: Held): void {
  if (volume.metadata.kind !== 'tree' || !context.driver.switchMounts) return;
  const blockers = openBlockers(context, [staged]);
  if (blockers.length > 0) throw blockedBy(`Could not roll back ${volume.name}`, blockers);
}

function takenBack(context: Context, volume: Held, staged: Held): boolean {
  try {
    context.driver.exchange(volume, staged);
    context.driver.switchMounts?.(staged, volume);
    return true;
  } catch {
    return false;
  }
}

/** Finishes or drops a rollback that was interrupted. Returns whether the staged entry is settled. */
export function recoverRollback(context: Context, staged: Held, intent: RollbackIntent): boolean {
  const inside = context.driver.payloadUuid(staged);
  if (inside !== intent.replacedUuid) {
    context.driver.discard(staged);
    return true;
  }
  using volume = findById(context, intent);
  if (!volume) return false;
  context.driver.switchMounts?.(staged, volume.held);
  keepReplaced(context, volume.held, staged, intent);
  return true;
}

/**
 * Finishes for processes that have died what they were rolling back of a volume that is held. Whoever removes it or a snapshot of
 * it does this first: afterwards there would be nothing left to keep the replaced state with, or it would be kept once more.
 * @throws CoppiceError busy
 */
export function finishRollbacksOf(context: Context, volume: HeldVolume): void {
  for (const id of context.driver.listEntries('staging')) {
    const place = { area: 'staging', id } as const;
    const intent = context.driver.peek(place);
    if (intent?.type !== 'rollback' || intent.volumeId !== volume.metadata.id) continue;
    // Its maker is dead, or would hold the volume. Who opens the pool may be looking at it, and does not wait for us.
    const held = context.driver.hold(place, 'exclusive', context.wait);
    if (held === 'busy') throw busy(volume.name);
    if (held === 'absent') continue;
    using staged = held;
    if (context.driver.payloadUuid(staged) === intent.replacedUuid) {
      context.driver.switchMounts?.(staged, volume.held);
      keepReplaced(context, volume.held, staged, intent);
    }
  }
}

function announce(
  context: Context,
  volume: HeldVolume,
  staged: Held,
  snapshot: Name,
  mark: Marked,
): RollbackIntent {
  const now = new Date();
  const intent: RollbackIntent = {
    type: 'rollback',
    volumeId: volume.metadata.id,
    volume: volume.name,
    target: snapshot,
    keep: timestampName('pre-rollback', now),
    replacedUuid: requireUuid(context, volume.held),
    stagedUuid: requireUuid(context, staged),
    created: now.toISOString(),
    ...mark,
  };
  context.driver.write(staged, intent);
  return intent;
}

/**
 * The exchange has happened: keeps what lies in the staged entry as a snapshot of the volume, once, and clears the entry. Where
 * somebody has removed the disk and nothing lies beside it, there is nothing to keep.
 */
function keepReplaced(
  context: Context,
  volume: Held,
  staged: Held,
  intent: RollbackIntent,
): Name | undefined {
  const id = `rollback-${intent.replacedUuid}`;
  const already = findKept(context, volume, intent.keep, id);
  const name =
    already ?? (context.driver.isEmpty(staged) ? undefined : keep(context, volume, staged, intent, id));
  abandon(context, staged);
  return name;
}

function keep(context: Context, volume: Held, staged: Held, intent: RollbackIntent, id: string): Name {
  // A disk that somebody has removed is no reason not to go back.
  if (context.driver.inspect(staged)) context.driver.writeOut(staged);
  return staging(context, (entry) => {
    context.driver.snapshot(staged, entry);
    const metadata: SnapshotMetadata = {
      type: 'snapshot',
      id,
      volumeId: intent.volumeId,
      created: intent.created,
      consistency: 'sync',
      reason: 'rollback',
      generation: context.driver.inspect(entry)?.createdIn ?? '0',
      ...(intent.request !== undefined && { request: intent.request }),
    };
    context.driver.write(entry, metadata);
    return publishNumbered(context, entry, volume, intent.keep as Name);
  });
}

/** A crash may have come between keeping the replaced state and clearing the entry. */
function findKept(context: Context, volume: Held, wanted: string, id: string): Name | undefined {
  for (let number = 1; ; number++) {
    const name = (number === 1 ? wanted : `${wanted}-${number}`) as Name;
    const metadata = context.driver.peek({ area: 'snapshots', volume, name });
    if (!metadata) return undefined;
    if (metadata.type === 'snapshot' && metadata.id === id) return name;
  }
}

function findById(context: Context, intent: RollbackIntent): HeldVolume | undefined {
  const names = [intent.volume, ...volumesOf(context).map((record) => record.name)];
  for (const name of names) {
    const metadata = context.driver.peek({ area: 'volumes', name: name as Name });
    const isIt = metadata?.type === 'volume' && metadata.id === intent.volumeId;
    // Nothing may be there under its name, where the storage needs two steps for an exchange: who holds it finishes that.
    if (!isIt && (metadata || name !== intent.volume)) continue;
    try {
      const volume = holdVolume({ ...context, wait: false }, name as Name, 'exclusive');
      if (volume.metadata.id === intent.volumeId) return volume;
      volume[Symbol.dispose]();
    } catch (error) {
      if (!(error instanceof CoppiceError)) throw error;
      if (isIt && (error.code === 'busy' || error.code === 'not_found')) return undefined;
      if (isIt || !['busy', 'not_found', 'damaged'].includes(error.code)) throw error;
    }
  }
  return undefined;
}

function requireUuid(context: Context, held: Held): string {
  const uuid = context.driver.payloadUuid(held);
  if (uuid) return uuid;
  throw new CoppiceError(
    'damaged',
    'The data of the volume has vanished during the rollback; look at it with "coppice pool check".',
  );
}
