import type { Held, Place } from '../drivers/driver.ts';
import { CoppiceError } from '../model/errors.ts';
import type { GroupMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import { bury } from './bury.ts';
import type { Context } from './context.ts';
import { busy } from './failures.ts';
import { holdPool } from './pool-lock.ts';
import { abandon } from './publish.ts';
import { timestamp } from './timestamp.ts';
import { groupsIn, isHidden } from './visible.ts';

/**
 * Several volumes or snapshots that appear or go together. One staged entry decides for all: its members carry its id, and
 * whoever looks for them asks where that entry is (`visible.ts`). It is committed by one rename to the tombstones.
 */
export interface Group extends Disposable {
  readonly id: string;
  /** Locked: who finds it unlocked knows that its maker has died. */
  readonly entry: Held;
}

/** Stages the entry of a group and says in the pool that one was begun, before it gets its first member. */
export function beginGroup(context: Context, action: GroupMetadata['action']): Group {
  const entry = context.driver.stage();
  try {
    context.driver.write(entry, { type: 'group', action, created: timestamp() });
    const id = stagedId(entry.place);
    announce(context, id);
    return { id, entry, [Symbol.dispose]: () => entry[Symbol.dispose]() };
  } catch (error) {
    abandon(context, entry);
    entry[Symbol.dispose]();
    throw error;
  }
}

/** The instant in which all members appear, or are gone. */
export function commitGroup(context: Context, group: Group): void {
  context.driver.move(group.entry, { area: 'tombstones', id: group.id });
}

/** Clears the entry away when nothing has to be told about its members any more. The next opening does it otherwise. */
export function forgetGroup(context: Context, group: Group): void {
  try {
    context.driver.discard(group.entry);
  } catch {}
}

/**
 * Finishes for a process that has died: what it had published and not committed, or had removed, is buried, and then its entry.
 * Goes through the whole pool. Returns whether nothing is left of it.
 */
export function settleGroup(context: Context, entry: Held, id: string): boolean {
  let complete = true;
  for (const { name, metadata, snapshots, snapshotsUnreadable } of context.driver.list()) {
    const volume = name as Name;
    const place = { area: 'volumes', name: volume } as const;
    if (belongs(metadata, id)) complete = buryMember(context, place, volume, id) && complete;
    // A member among those that can't be read would come back if its group were forgotten: then this fails, and waits for root.
    else if (snapshots > 0 || snapshotsUnreadable) complete = buryMembersOf(context, place, id) && complete;
  }
  if (complete) context.driver.discard(entry);
  return complete;
}

/**
 * Buries the snapshots of a volume that nobody can see. Who has a volume exclusively may: the makers and removers of its
 * snapshots would hold it until the end of their group, so they have died. Before a volume gets another name, this must be done,
 * or who settles their group might not find them.
 */
export function buryHiddenSnapshots(context: Context, name: Name, volume: Held): void {
  for (const record of context.driver.listSnapshots(name)) {
    if (!isHidden(context, record.metadata)) continue;
    const place: Place = { area: 'snapshots', volume, name: record.name as Name };
    const held = context.driver.hold(place, 'exclusive', context.wait);
    if (held === 'busy') throw busy(`${name}@${record.name}`);
    if (held === 'absent') continue;
    using snapshot = held;
    bury(context, snapshot, name);
  }
}

/** Whoever reads the whole pool compares this before and after. */
function announce(context: Context, id: string): void {
  using pool = holdPool(context, 'exclusive');
  const metadata = context.driver.read(pool);
  if (metadata?.type !== 'pool')
    throw new CoppiceError('not_a_pool', `${context.path} is no pool any more: somebody has destroyed it.`);
  context.driver.write(pool, { ...metadata, lastGroup: id });
}

function stagedId(place: Place): string {
  return place.area === 'staging' ? place.id : '';
}

function belongs(metadata: Parameters<typeof groupsIn>[0], id: string): boolean {
  const { group, removal } = groupsIn(metadata);
  return group === id || removal === id;
}

function buryMembersOf(context: Context, place: Extract<Place, { area: 'volumes' }>, id: string): boolean {
  const members = context.driver.listSnapshots(place.name).filter((record) => belongs(record.metadata, id));
  if (members.length === 0) return true;
  const held = context.driver.hold(place, 'shared', false);
  if (typeof held === 'string') return held === 'absent';
  using volume = held;
  return members.every((record) =>
    buryMember(context, { area: 'snapshots', volume, name: record.name as Name }, place.name, id),
  );
}

function buryMember(context: Context, place: Place, name: Name, id: string): boolean {
  const held = context.driver.hold(place, 'exclusive', false);
  if (typeof held === 'string') return held === 'absent';
  using member = held;
  if (belongs(context.driver.read(member), id)) bury(context, member, name);
  return true;
}
