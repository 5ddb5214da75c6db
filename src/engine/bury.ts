import type { Held, Place } from '../drivers/driver.ts';
import { randomId } from '../linux/random.ts';
import { hasErrno } from '../linux/system-calls.ts';
import {
  type Metadata,
  rememberedAncestors,
  type TombstoneMetadata,
  type VolumeMetadata,
} from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import { busy } from './failures.ts';
import { timestamp } from './timestamp.ts';
import { isHidden } from './visible.ts';

/** What was removed, and could not be destroyed. */
export interface Undestroyed {
  readonly reason: unknown;
}

/**
 * One rename, and it is gone for everybody; destroying the data can be interrupted, the next opening of the pool goes on. It does
 * so, too, with what can't be destroyed now, which is no failure: what has been asked for is done.
 * @param name of the volume that it is or belongs to
 */
export function bury(context: Context, held: Held, name: Name): Undestroyed | undefined {
  try {
    // The name goes into the id, because the record of a removed volume needs it and its metadata does not have it.
    context.driver.move(held, { area: 'tombstones', id: `${name}.${randomId()}` });
  } catch (error) {
    if (!hasErrno(error, 'ENOSPC')) throw error;
    destroyInPlace(context, held, error);
    return undefined;
  }
  try {
    finishRemoval(context, held);
    return undefined;
  } catch (reason) {
    return { reason };
  }
}

/**
 * Clears a place of what is hidden there: what a group has removed and not moved yet, or has made and died before it was
 * committed. While the group lives, this waits for it.
 * @throws CoppiceError busy
 */
export function clearHidden(context: Context, place: Place, name: Name): void {
  const held = context.driver.hold(place, 'exclusive', context.wait);
  if (held === 'busy') throw busy(name);
  if (held === 'absent') return;
  using entry = held;
  if (isHidden(context, context.driver.read(entry))) bury(context, entry, name);
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
