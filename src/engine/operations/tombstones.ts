import type { Held } from '../../drivers/driver.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Context } from '../context.ts';

export interface Tombstone {
  /** What it is called in the pool. */
  readonly id: string;
  /** What the volume was called, where that is known. */
  readonly name?: string;
  /** ISO 8601, UTC; absent where it was not written down. */
  readonly removed?: string;
  /** `clearing`: its data goes; `lineage`: only the record of it is kept, for those who come from it; `needed`: clones need its data. */
  readonly reason: 'clearing' | 'lineage' | 'needed';
  readonly neededBy: readonly string[];
  /** Bytes that it refers to; absent where that can't be told or there is no data. */
  readonly heldBytes?: number;
}

/** What is deleted and not gone: why, for whom, and how much it holds. */
export function tombstones(context: Context): Tombstone[] {
  return context.driver.listEntries('tombstones').flatMap((id) => look(context, id) ?? []);
}

function look(context: Context, id: string): Tombstone | undefined {
  const place = { area: 'tombstones', id } as const;
  const metadata = context.driver.peek(place);
  // What removals have in common stands here, too, and holds nothing.
  if (metadata?.type === 'group') return undefined;
  const end = id.lastIndexOf('.');
  const name = metadata?.type === 'tombstone' ? metadata.name : id.slice(0, Math.max(end, 0));
  const about = { id, ...(name !== '' && { name }) };
  if (metadata?.type === 'tombstone')
    return { ...about, removed: metadata.removed, reason: 'lineage', neededBy: [] };
  const held = context.driver.hold(place, 'shared', false);
  if (held === 'absent') return undefined;
  // Somebody is at work on it at this moment.
  if (held === 'busy') return { ...about, reason: 'clearing', neededBy: [] };
  using entry = held;
  const neededBy = context.driver.neededBy?.(entry) ?? [];
  const heldBytes = bytesOf(context, entry);
  return {
    ...about,
    reason: neededBy.length > 0 ? 'needed' : 'clearing',
    neededBy,
    ...(heldBytes !== undefined && { heldBytes }),
  };
}

/** Half of it may be destroyed already. */
function bytesOf(context: Context, held: Held): number | undefined {
  try {
    return context.driver.inspect(held) && context.driver.usage(held, 'cheap').referencedBytes;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'damaged', 'not_found')) return undefined;
    throw error;
  }
}
