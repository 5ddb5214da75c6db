import { commitTransaction } from '../../linux/btrfs.ts';
import { findHolders } from '../../linux/holders.ts';
import type { LockMode } from '../../linux/locks.ts';
import { readMounts } from '../../linux/mounts.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import type { Metadata } from '../../model/metadata.ts';
import type { Name } from '../../model/names.ts';
import type { CloneRequest, Driver, DriverInfo, Held, Holders, Place } from '../driver.ts';
import { discardContent, discardEntry, type Scope } from './discard.ts';
import * as payload from './payload.ts';
import { diskPath, type HeldDirectory, Places } from './places.ts';
import { settleDeleted } from './settle.ts';
import { recallUsage, rememberUsage } from './usage-cache.ts';

/**
 * Opens the btrfs driver on a pool's open root directory.
 * @param root stays the caller's, and must stay open as long as the driver is used
 * @param path how users reach the root; only for the paths that are handed out
 */
export function openBtrfs(root: number, path: string): Driver {
  const places = new Places(root);
  return {
    info,
    list: () => places.list(),
    listSnapshots: (volume: Name) => places.listSnapshots(volume),
    listEntries: (area) => places.listEntries(area),
    strangers: (held) => places.strangers(directory(held)),
    hold: (place: Place, mode: LockMode, wait: boolean) => places.hold(place, mode, wait),
    exists: (place) => places.exists(place),
    stage: () => places.stage(),
    move: (held, to) => places.move(directory(held), to),
    read: (held) => places.read(directory(held)),
    peek: (place) => places.peek(place),
    write: (held, metadata: Metadata) => places.write(directory(held), metadata),

    create: (staged, bytes, identity) => payload.createDisk(fd(staged), bytes, identity),
    clone: (source, staged, request: CloneRequest) =>
      payload.cloneDisk(directory(source), directory(staged), request),
    snapshot: (source, staged) => payload.snapshotDisk(fd(source), fd(staged), 'readonly'),
    stageRollback: (snapshot, staged) => payload.snapshotDisk(fd(snapshot), fd(staged), 'writable'),
    exchange: (volume, staged) => payload.exchangeDisks(fd(volume), fd(staged)),
    adopt: (volume, staged) => payload.adoptDisk(fd(volume), fd(staged)),
    grow: (volume, bytes) => payload.growDisk(fd(volume), bytes),
    flush: (held) => payload.flushDisk(fd(held)),
    discardData: (held) => discardContent(fd(held), scopeOf(held)),
    discard: (held) =>
      places.parentOf(held.place, (parent, name) => discardEntry(parent, name, scopeOf(held))),

    payloadUuid: (held) => payload.payloadUuid(fd(held)),
    isEmpty: (held) => payload.isEmpty(fd(held)),
    size: (held) => payload.diskSize(fd(held)),
    inspect: (held) => payload.inspectDisk(fd(held)),
    countExtents: (held) => payload.countDiskExtents(fd(held)),
    usage: (held, accuracy) => payload.diskUsage(fd(held), accuracy),
    recallUsage: (held) => recallUsage(fd(held)),
    rememberUsage: (held, usage) => rememberUsage(fd(held), usage),
    leftOut: (held) => payload.leftOut(fd(held)),
    mounts: (held) => mountsOn(held, path),
    holders: (held) => holdersOf(held, path),
    path: (held) => `${path}/${placePath(held.place)}/${diskPath}`,

    commit: () => commitTransaction(root),
    space: () => fileSystemSpace(root),
    settle: () => settleDeleted(root),
    [Symbol.dispose]: () => places[Symbol.dispose](),
  };
}

const info: DriverInfo = {
  name: 'btrfs',
  capabilities: {
    blockVolumes: true,
    treeVolumes: 'Tree volumes are not built yet.',
    constantTimeClone: true,
    snapshots: true,
    sameInstantSnapshots:
      'A btrfs snapshot covers one subvolume, so several volumes share an instant only if their writers are stopped.',
    incrementalStreams:
      'Streams are not built yet; clones made with --replicable keep the lineage that they will need.',
  },
};

/** In staging may lie what a rollback replaced, and with it what its snapshot leaves out. */
function scopeOf({ place }: Held): Scope {
  return place.area === 'tombstones' ? 'whatever' : 'own';
}

function mountsOn(held: readonly Held[], path: string): { path: string; source: string }[] {
  const places = held.map((entry) => `${path}/${placePath(entry.place)}/`);
  return readMounts()
    .filter(({ mountPoint }) => places.some((place) => mountPoint.startsWith(place)))
    .map(({ mountPoint, source }) => ({ path: mountPoint, source }));
}

/** The kernel says whether a disk is open; only then all processes are looked through for who it is. */
function holdersOf(held: readonly Held[], path: string): Holders {
  const disks = held.flatMap(
    (entry) => payload.probeDisk(fd(entry), `${path}/${placePath(entry.place)}/${diskPath}`) ?? [],
  );
  const suspects = disks.filter((disk) => disk.openElsewhere !== false);
  if (suspects.length === 0) return { holders: [], complete: true };
  const { holders, complete } = findHolders(suspects);
  const unseen = suspects.filter(
    (disk) => disk.openElsewhere && !holders.some((holder) => holder.path === disk.path),
  );
  return {
    holders,
    complete: unseen.length === 0 && (complete || suspects.every((disk) => disk.openElsewhere)),
  };
}

function placePath(place: Place): string {
  switch (place.area) {
    case 'volumes':
      return `volumes/${place.name}`;
    case 'snapshots':
      return `${placePath(place.volume.place)}/snapshots/${place.name}`;
    case 'pool':
      return '';
    default:
      return `.${place.area}/${place.id}`;
  }
}

/** Every held place of this driver is a directory that it opened itself. */
function directory(held: Held): HeldDirectory {
  return held as HeldDirectory;
}

function fd(held: Held): number {
  return directory(held).fd;
}
