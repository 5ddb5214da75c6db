import type { Held } from '../../drivers/driver.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { RollbackIntent } from '../../model/metadata.ts';
import { formatReference, type Name, parseSnapshotReference } from '../../model/names.ts';
import type { RollbackTogether } from '../../model/together.ts';
import { replacingBlockers, stuckMountBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { completeExchange, isTouched, takeBack } from '../exchange.ts';
import { type HeldVolume, holdSnapshot, holdVolume, requireUnsealed } from '../holding.ts';
import { leadsOf, partBlockers } from '../parts.ts';
import { nestedIn, problemsOf, problemsOfSnapshot } from '../problems.ts';
import { abandon, timestampName } from '../publish.ts';
import { finishRollbacksOf } from '../recover-rollback.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { removeStale } from '../stale-files.ts';
import { requireUnguarded } from './guard-records.ts';

/** The mark goes to the snapshot that keeps the replaced state. */
export interface RollbackOptions extends Marked {
  /** Go on although somebody has the disk open: he keeps the replaced state, and his later writes are lost. */
  readonly force?: boolean;
  readonly dryRun?: boolean;
  /** Stop what runs on the volume, as its settings `stop.unit` or `stop.hook` say, and start it again afterwards. */
  readonly stop?: boolean;
  /** Leave alone the other volumes that the application lies in, as if the snapshot had been taken of this one only. */
  readonly alone?: boolean;
}

export interface RolledBack {
  readonly volume: string;
  readonly snapshot: string;
  /**
   * `VOLUME@NAME` of the state that was replaced: rolling back to it undoes this rollback. Absent in a dry run, and when there was
   * nothing to keep, because the disk was gone.
   */
  readonly undo?: string;
  /** The other volumes that were put back with it, because one application lies in all of them. Absent where there are none. */
  readonly with?: ReadonlyArray<{
    readonly volume: string;
    readonly snapshot: string;
    readonly undo?: string;
  }>;
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** What was changed behind Coppice's back in the snapshot: one sentence each. */
  readonly warnings?: readonly string[];
  /** Why what was stopped for it could not be started again; `Pool.rollback` makes an error of it. */
  readonly notStarted?: string;
}

/**
 * Puts a volume back to one of its snapshots in one atomic step. Newer snapshots stay, and the state that is replaced is kept as
 * a snapshot, so that this can itself be undone.
 *
 * The order of the steps makes every crash safe: the new state is staged; an intent with the ids of both sides is written; the
 * two are exchanged; then the replaced state, which now lies in the staged entry, is kept as a read-only snapshot. A snapshot
 * taken before the exchange would miss what is written in between. `recoverRollback` finishes what a crash interrupted.
 *
 * Nothing is done, and nothing returned, where the snapshot can't be used without those of other volumes: see `rollbackTogether`.
 */
export function rollback(
  context: Context,
  referenceText: string,
  options: RollbackOptions,
): RolledBack | undefined {
  const reference = parseSnapshotReference(referenceText);
  const mark = requestMark(options);
  const action = `roll back ${reference.volume} to ${reference.snapshot}`;
  requireSpace(context, action, 0);
  using volume = holdVolume(context, reference.volume, 'exclusive');
  if (volume.metadata.kind === 'tree') finishRollbacksOf(context, volume);
  requireChangeable(volume, reference.snapshot, action);
  using target = holdSnapshot(context, volume, reference.snapshot, 'shared');
  if (!options.alone && isTogether(context, target)) return undefined;
  requireRollable(context, volume, target);
  const leads = options.alone ? [] : leadsOf(context, volume);
  const blockers = [...partBlockers(volume.name, leads), ...blockersOf(context, volume, options)];
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

function isTogether(context: Context, target: Held): boolean {
  const metadata = context.driver.read(target);
  return metadata?.type === 'snapshot' && metadata.together !== undefined;
}

/** @throws CoppiceError blocked where nothing may put it back */
export function requireChangeable(volume: HeldVolume, snapshot: Name, action: string): void {
  requireUnsealed(volume, action);
  // A guard itself goes back to the snapshot that it has taken.
  if (!volume.metadata.guards?.some((guard) => guard.snapshot === snapshot)) requireUnguarded(volume, action);
}

/** @throws CoppiceError damaged where a volume can't be put back to a snapshot, or what is replaced could not be kept */
export function requireRollable(context: Context, volume: HeldVolume, target: Held): void {
  context.driver.size(target); // a snapshot that has lost its disk is nothing to go back to
  requireKeepable(context, volume);
}

/** What stands in the way now. */
export function blockersOf(context: Context, volume: HeldVolume, { force }: RollbackOptions): Blocker[] {
  return [
    ...stuckMountBlockers(context, [volume.held]),
    ...replacingBlockers(context, volume, volume.held, force ?? false),
  ];
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

interface Announcement extends Exchange {
  readonly created: Date;
  readonly together?: RollbackTogether;
}

function exchange(context: Context, volume: HeldVolume, target: Held, how: Exchange): Name | undefined {
  using staged = context.driver.stage();
  let intent: RollbackIntent | undefined;
  try {
    context.driver.stageRollback(target, staged);
    // What is written to it later can be told from that by its transaction.
    if (removeStale(context, volume, staged)) context.driver.commit();
    // A payload that somebody deleted can be rolled back too: there is nothing to keep then.
    if (!context.driver.payloadUuid(volume.held)) {
      context.driver.adopt(volume.held, staged);
      abandon(context, staged);
      return undefined;
    }
    intent = announce(context, volume, staged, { ...how, created: new Date() });
    context.driver.exchange(volume.held, staged);
    return completeExchange(context, volume, staged, intent);
  } catch (error) {
    // What was replaced lies in the staged entry, unless it could go back. If not, it stays there, and the next opening of the pool settles it.
    if (!intent || isBack(context, volume, staged, intent)) abandon(context, staged);
    throw error;
  }
}

/** Whether what was to be replaced is in its place, again or still, and nothing in the staged entry is worth keeping. */
function isBack(context: Context, volume: HeldVolume, staged: Held, intent: RollbackIntent): boolean {
  try {
    if (context.driver.payloadUuid(staged) === intent.replacedUuid) takeBack(context, volume.held, staged);
    return !isTouched(context, staged, intent);
  } catch {
    return false;
  }
}

/** Writes down what is to be exchanged, and what for. */
export function announce(
  context: Context,
  volume: HeldVolume,
  staged: Held,
  { snapshot, mark, force, created, together }: Announcement,
): RollbackIntent {
  const intent: RollbackIntent = {
    type: 'rollback',
    volumeId: volume.metadata.id,
    volume: volume.name,
    target: snapshot,
    keep: timestampName('pre-rollback', created),
    replacedUuid: requireUuid(context, volume.held),
    stagedUuid: requireUuid(context, staged),
    stagedChanged: context.driver.inspect(staged)?.changedIn ?? '',
    created: created.toISOString(),
    ...(together && { together }),
    ...(force && { force }),
    ...mark,
  };
  context.driver.write(staged, intent);
  return intent;
}

function requireUuid(context: Context, held: Held): string {
  const uuid = context.driver.payloadUuid(held);
  if (uuid) return uuid;
  throw new CoppiceError(
    'damaged',
    'The data of the volume has vanished during the rollback; look at it with "coppice pool check".',
  );
}
