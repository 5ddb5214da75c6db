import type { Place, RecordDetail, SnapshotRecord, VolumeRecord } from '../drivers/driver.ts';
import type { Metadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import { holdPool } from './pool-lock.ts';

/**
 * What is there for those who use a pool. Of several snapshots that are taken together, none is there before their group is
 * committed; of several names that are removed together, none is there after it. Everybody who looks for volumes or snapshots
 * looks through this.
 */

/** All volumes, and what else lies among them. The number of snapshots is that of those that are there. */
export function volumesOf(context: Context): readonly VolumeRecord[] {
  return consistently(context, (groups) => {
    const volumes = groups.visible(context.driver.list());
    return groups.hideNothing
      ? volumes
      : volumes.map((volume) => ({ ...volume, snapshots: snapshotsIn(context, volume, groups).length }));
  });
}

/** The snapshots of one volume. */
export function snapshotsOf(context: Context, volume: Name): readonly SnapshotRecord[] {
  return consistently(context, (groups) => {
    if (!groups.hideNothing && isHidden(context, context.driver.peek({ area: 'volumes', name: volume })))
      return [];
    return groups.visible(context.driver.listSnapshots(volume));
  });
}

/** All volumes, and what else lies among them, each with its snapshots. */
export function contentsOf(
  context: Context,
  detail?: RecordDetail,
): ReadonlyArray<{ readonly volume: VolumeRecord; readonly snapshots: readonly SnapshotRecord[] }> {
  return consistently(context, (groups) =>
    groups
      .visible(context.driver.list(detail))
      .map((volume) => ({ volume, snapshots: snapshotsIn(context, volume, groups, detail) })),
  );
}

/**
 * Whether what has this metadata is not there now: for a single place. Only who has its lock can be sure of the answer, because
 * the makers and removers of a group keep the locks of its members until its end.
 */
export function isHidden(context: Context, metadata: Metadata | undefined): boolean {
  const { group, removal } = groupsIn(metadata);
  return (
    (group !== undefined && context.driver.exists({ area: 'staging', id: group })) ||
    (removal !== undefined && context.driver.exists({ area: 'tombstones', id: removal }))
  );
}

/** Whether something is in a place, and whether that is there for anybody but its group. */
export function occupancy(context: Context, place: Place): 'free' | 'hidden' | 'taken' {
  for (;;) {
    // Most names that are asked for are free, and what is not there needs not be read.
    if (!context.driver.exists(place)) return 'free';
    const metadata = context.driver.peek(place);
    if (!metadata) return context.driver.exists(place) ? 'taken' : 'free';
    if (isHidden(context, metadata)) return 'hidden';
    const { group, removal } = groupsIn(metadata);
    if (group === undefined && removal === undefined) return 'taken';
    // The group may have ended between the two looks, and with it what had been there.
    const again = groupsIn(context.driver.peek(place));
    if (again.group === group && again.removal === removal) return 'taken';
  }
}

/** The ids of the groups that something says it belongs to. */
export function groupsIn(metadata: Metadata | undefined): {
  readonly group?: string | undefined;
  readonly removal?: string | undefined;
} {
  if (metadata?.type === 'volume') return { removal: metadata.removal };
  return metadata?.type === 'snapshot' ? metadata : {};
}

const patience = 3;

/**
 * Looks at many places as they were at one moment, as far as groups are concerned: all of a group or nothing of it. It looks
 * again when a group was begun meanwhile, whose first members it may have missed, or when a removal was committed that it has
 * found undecided, whose last members may have gone. After some tries it keeps new groups from beginning.
 */
function consistently<T>(context: Context, look: (groups: Groups) => T): T {
  using lock = new DisposableStack();
  for (let attempt = 1; ; attempt++) {
    if (attempt > patience) lock.use(holdPool(context, 'shared'));
    const before = lastGroup(context);
    const groups = before === undefined ? new Groups() : presentGroups(context);
    const result = look(groups);
    if (lastGroup(context) === before && groups.undecided.every((place) => context.driver.exists(place)))
      return result;
  }
}

class Groups {
  /** Ids of groups whose members are not there yet, and of those whose members are there no more. */
  readonly appearing = new Set<string>();
  readonly gone = new Set<string>();
  /** Where the entries of removals lie that are not committed. */
  readonly undecided: Place[] = [];

  get hideNothing(): boolean {
    return this.appearing.size === 0 && this.gone.size === 0;
  }

  visible<R extends { readonly metadata: Metadata | undefined }>(records: readonly R[]): readonly R[] {
    return this.hideNothing ? records : records.filter(({ metadata }) => !this.#hides(metadata));
  }

  #hides(metadata: Metadata | undefined): boolean {
    const { group, removal } = groupsIn(metadata);
    return (
      (group !== undefined && this.appearing.has(group)) || (removal !== undefined && this.gone.has(removal))
    );
  }
}

/** First what is staged, then the tombstones: a removal that is committed between the two is in one of them at least. */
function presentGroups(context: Context): Groups {
  const groups = new Groups();
  for (const id of context.driver.listEntries('staging')) {
    const place = { area: 'staging', id } as const;
    const metadata = context.driver.peek(place);
    if (metadata?.type !== 'group') continue;
    if (metadata.action === 'snapshot') groups.appearing.add(id);
    else groups.undecided.push(place);
  }
  for (const id of context.driver.listEntries('tombstones')) {
    // Those of volumes and snapshots begin with a name and a dot.
    if (id.includes('.')) continue;
    const metadata = context.driver.peek({ area: 'tombstones', id });
    if (metadata?.type === 'group' && metadata.action === 'remove') groups.gone.add(id);
  }
  return groups;
}

function lastGroup(context: Context): string | undefined {
  const metadata = context.driver.peek({ area: 'pool' });
  return metadata?.type === 'pool' ? metadata.lastGroup : undefined;
}

function snapshotsIn(
  context: Context,
  volume: VolumeRecord,
  groups: Groups,
  detail?: RecordDetail,
): readonly SnapshotRecord[] {
  if (volume.snapshots === 0) return [];
  if (volume.snapshotRecords) return groups.visible(volume.snapshotRecords);
  return groups.visible(context.driver.listSnapshots(volume.name as Name, detail));
}
