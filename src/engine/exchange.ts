import type { Held } from '../drivers/driver.ts';
import { type Blocker, blockedBy, CoppiceError } from '../model/errors.ts';
import type { RollbackIntent, SnapshotMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { RollbackTogether } from '../model/together.ts';
import { mountBlockers, replacingBlockers } from './blockers.ts';
import type { Context } from './context.ts';
import { type HeldVolume, holdVolume } from './holding.ts';
import { abandon, publishNumbered, staging, timestampName } from './publish.ts';
import { volumesOf } from './visible.ts';

/** What follows on the exchange of a rollback, for who has made it, and for who finds that he died: see `recover-rollback.ts`. */

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
  const blockers = blockersAfter(context, volume, staged, intent);
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

/** Who has what was replaced open, or mounted. */
export function blockersAfter(
  context: Context,
  volume: HeldVolume,
  staged: Held,
  intent: RollbackIntent,
): Blocker[] {
  if (volume.metadata.kind !== 'tree' || context.driver.switchMounts === undefined) return [];
  return [
    // All mounts should have followed, those of other namespaces, too.
    ...mountBlockers(context, [staged]),
    ...replacingBlockers(context, volume, staged, intent.force ?? false),
  ];
}

export function takeBack(context: Context, volume: Held, staged: Held): void {
  context.driver.exchange(volume, staged);
  context.driver.switchMounts?.(staged, volume);
}

/** What the volume had before lies in the staged entry. */
export function isReplaced(context: Context, staged: Held, intent: RollbackIntent): boolean {
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
export function keepAttempt(context: Context, volume: Held, staged: Held, intent: RollbackIntent): Name {
  const id = `rollback-${intent.stagedUuid}`;
  const wanted = timestampName('rollback-attempt', new Date(intent.created));
  // It belongs to nothing that was kept of others.
  const { together: _, ...alone } = intent;
  const name =
    findKept(context, volume, wanted, id) ?? keep(context, volume, staged, { ...alone, keep: wanted }, id);
  abandon(context, staged);
  return name;
}

/**
 * The exchange has happened: keeps what lies in the staged entry as a snapshot of the volume, once, and clears the entry. Where
 * somebody has removed the disk and nothing lies beside it, there is nothing to keep.
 */
export function keepReplaced(
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
      ...(intent.together && keptTogether(intent.together)),
    };
    context.driver.write(entry, metadata);
    return publishNumbered(context, entry, volume, intent.keep as Name);
  });
}

function keptTogether({
  group,
  lead,
  volumes,
}: RollbackTogether): Pick<SnapshotMetadata, 'group' | 'together'> {
  return { group, together: { lead, volumes } };
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

export function findById(
  context: Context,
  intent: Pick<RollbackIntent, 'volume' | 'volumeId'>,
): HeldVolume | undefined {
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
