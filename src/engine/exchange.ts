import type { Held } from '../drivers/driver.ts';
import { blockedBy, CoppiceError } from '../model/errors.ts';
import type { RollbackIntent, SnapshotMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import { mountBlockers, replacingBlockers } from './blockers.ts';
import type { Context } from './context.ts';
import { busy } from './failures.ts';
import { type HeldVolume, holdVolume } from './holding.ts';
import { abandon, publishNumbered, staging, timestampName } from './publish.ts';
import { volumesOf } from './visible.ts';

/** What follows on the exchange of a rollback, for who has made it, and for who finds that he died. */

/** Finishes or drops a rollback that was interrupted. Returns whether the staged entry is settled. */
export function recoverRollback(context: Context, staged: Held, intent: RollbackIntent): boolean {
  // It had not come to the exchange, or that was taken back and nobody has written to what was in the volume's place meanwhile.
  if (!isReplaced(context, staged, intent) && !isTouched(context, staged, intent)) {
    context.driver.discard(staged);
    return true;
  }
  using volume = findById(context, intent);
  if (!volume) return false;
  return isSettled(context, volume, staged, intent);
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
    if (isReplaced(context, staged, intent) || isTouched(context, staged, intent))
      isSettled(context, volume, staged, intent);
  }
}

/** Returns whether the staged entry is gone. */
function isSettled(context: Context, volume: HeldVolume, staged: Held, intent: RollbackIntent): boolean {
  if (!isReplaced(context, staged, intent)) keepAttempt(context, volume.held, staged, intent);
  else {
    try {
      completeExchange(context, volume, staged, intent);
    } catch (error) {
      // Whoever has what was replaced open has it still, in its place.
      if (!(error instanceof CoppiceError && error.code === 'blocked')) throw error;
    }
  }
  return !context.driver.exists(staged.place);
}

/**
 * The exchange has happened: has mounts follow, and looks once more whether somebody has what is replaced open. He may have opened it
 * between the first look and the exchange, or through a mount until now, and what he writes would be lost: then it goes back, and what
 * was in its place for that moment is kept as a snapshot if anything was written to it. Of a disk the first look has been the last
 * moment: who has one open is seen by a lease, which is not taken twice.
 * @returns the name under which the replaced state is kept
 * @throws CoppiceError blocked when it went back
 */
export function completeExchange(
  context: Context,
  volume: HeldVolume,
  staged: Held,
  intent: RollbackIntent,
): Name | undefined {
  context.driver.switchMounts?.(staged, volume.held);
  const isLookedAt = volume.metadata.kind === 'tree' && context.driver.switchMounts !== undefined;
  const blockers = isLookedAt
    ? [
        // All mounts should have followed, those of other namespaces, too.
        ...mountBlockers(context, [staged]),
        ...replacingBlockers(context, volume, staged, intent.force ?? false),
      ]
    : [];
  if (blockers.length === 0) return keepReplaced(context, volume.held, staged, intent);
  takeBack(context, volume.held, staged);
  const attempt = isTouched(context, staged, intent)
    ? keepAttempt(context, volume.held, staged, intent)
    : undefined;
  abandon(context, staged);
  const kept =
    attempt === undefined ? '' : `; what was written to it meanwhile is kept in ${volume.name}@${attempt}`;
  throw blockedBy(`Could not roll back ${volume.name}${kept}`, blockers);
}

export function takeBack(context: Context, volume: Held, staged: Held): void {
  context.driver.exchange(volume, staged);
  context.driver.switchMounts?.(staged, volume);
}

/** What the volume had before lies in the staged entry. */
function isReplaced(context: Context, staged: Held, intent: RollbackIntent): boolean {
  return context.driver.payloadUuid(staged) === intent.replacedUuid;
}

/** Whether somebody has written to the new state of a tree, while it was in the volume's place. */
export function isTouched(context: Context, staged: Held, intent: RollbackIntent): boolean {
  if (!context.driver.switchMounts || isReplaced(context, staged, intent)) return false;
  const state = context.driver.inspect(staged);
  return (
    intent.stagedChanged !== undefined && state !== undefined && state.changedIn !== intent.stagedChanged
  );
}

/** Keeps what was written to a new state that was taken back. */
function keepAttempt(context: Context, volume: Held, staged: Held, intent: RollbackIntent): Name {
  const id = `rollback-${intent.stagedUuid}`;
  const wanted = timestampName('rollback-attempt', new Date(intent.created));
  const name =
    findKept(context, volume, wanted, id) ?? keep(context, volume, staged, { ...intent, keep: wanted }, id);
  abandon(context, staged);
  return name;
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
  // A disk that somebody has removed is no reason not to go back. What is dirty of a tree that nobody has open, the copy itself writes.
  if (context.driver.inspect(staged)?.bytes !== undefined) context.driver.writeOut(staged);
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
