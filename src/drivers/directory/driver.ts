import { readdirSync } from 'node:fs';
import { statusAt } from '../../linux/file-status.ts';
import { descriptorPath, exchangeAt, moveAt } from '../../linux/files.ts';
import type { LockMode } from '../../linux/locks.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Metadata } from '../../model/metadata.ts';
import type { Name } from '../../model/names.ts';
import type { Driver, Held, Place, TreeOptions } from '../driver.ts';
import { discardContent, discardEntry, type Scope } from './discard.ts';
import * as disk from './disk.ts';
import { holdersOf, mountsOn, pathOf, placePath, treePath } from './holders.ts';
import type { DiskPayload, Payload, TreePayload } from './payload.ts';
import { areas, type HeldDirectory, kindOf, Places, treeName } from './places.ts';
import { snapshotsIn, volumesIn } from './records.ts';
import { recallUsage, rememberUsage } from './usage-cache.ts';

/** The driver of a pool that is a directory. How the data in it is made, kept and destroyed differs from file system to file system. */
export function directoryDriver(root: number, path: string, payload: Payload): Driver {
  const isOurs = statusAt(root, '').uid === process.geteuid?.();
  const places = new Places(root);
  const { disks, trees } = payload;
  const isTree = (held: Held): boolean => kindOf(directory(held)) === 'tree';
  const treePayload = (): TreePayload => {
    if (trees) return trees;
    throw new CoppiceError(
      'damaged',
      `There are no directory trees on ${payload.info.name}, and here is one.`,
    );
  };
  const of = (held: Held): DiskPayload | TreePayload => (isTree(held) ? treePayload() : disks);
  const nameOf = (held: Held): string => (isTree(held) ? treeName : 'data');
  const snapshot = (source: Held, staged: Held, access: 'readonly' | 'writable'): void => {
    of(source).snapshot(fd(source), fd(staged), access);
    directory(staged).kind = kindOf(directory(source));
  };
  const destroy = (held: Held) => (entry: number) => payload.destroy(entry, scopeOf(held, isOurs));
  return {
    info: payload.info,
    list: (detail) => payload.listVolumes?.(places.volumes) ?? volumesIn(places.volumes, detail),
    listSnapshots: (volume: Name, detail) => snapshotsIn(places.volumes, volume, detail),
    listEntries: (area) => places.listEntries(area),
    foreign: () => readdirSync(descriptorPath(root)).filter((name) => !(name in areas)),
    label: (place) => `${path}/${placePath(place)}`,
    ownerOf: (held) => directory(held).status.uid,
    strangers: (held) => places.strangers(directory(held)),
    hold: (place: Place, mode: LockMode, wait: boolean) => places.hold(place, mode, wait),
    exists: (place) => places.exists(place),
    stage: () => places.stage(),
    move: (held, to) => places.move(directory(held), to),
    read: (held) => places.read(directory(held)),
    peek: (place) => places.peek(place),
    write: (held, metadata: Metadata) => places.write(directory(held), metadata),

    create(staged, bytes, identity) {
      disks.create(fd(staged), bytes, identity);
      directory(staged).kind = 'block';
    },
    ...(trees && {
      createTree(staged: Held, identity: string, options: TreeOptions) {
        trees.create(fd(staged), identity, options);
        directory(staged).kind = 'tree';
      },
      takeTree(staged: Held, source: number, identity: string) {
        if (!trees.take(fd(staged), source, identity)) return false;
        directory(staged).kind = 'tree';
        return true;
      },
      claimTree: (staged: Held, identity: string) => trees.claim(fd(staged), identity),
    }),
    clone(source, staged, request) {
      directory(staged).kind = kindOf(directory(source));
      return of(source).clone(directory(source), directory(staged), request);
    },
    snapshot: (source, staged) => snapshot(source, staged, 'readonly'),
    stageRollback: (target, staged) => snapshot(target, staged, 'writable'),
    exchange: (volume, staged) => exchangeAt(fd(volume), nameOf(volume), fd(staged), nameOf(volume)),
    // @throws SystemError EEXIST when the volume has data by now
    adopt: (volume, staged) => moveAt(fd(staged), nameOf(volume), fd(volume), nameOf(volume)),
    grow: (volume, bytes) => disk.growDisk(fd(volume), bytes),
    writeOut: (held) => (isTree(held) ? treePayload().writeOut(fd(held)) : disk.writeOutDisk(fd(held))),
    discardData: (held) => discardContent(fd(held), destroy(held)),
    discard: (held) =>
      places.parentOf(held.place, (parent, name) => discardEntry(parent, name, destroy(held))),

    givingWay: () => payload.givingWay?.(root) ?? (() => {}),

    payloadUuid: (held) => of(held).uuid(fd(held)),
    // An empty directory is something to keep; a disk's without its disk is not.
    isEmpty: (held) => !isTree(held) && disk.isEmpty(fd(held)),
    size(held) {
      if (!isTree(held)) return disk.diskSize(fd(held));
      treePayload().requireTree(fd(held));
      return 0;
    },
    inspect: (held) => of(held).inspect(fd(held)),
    countExtents: (held) => (isTree(held) ? 0 : disk.countDiskExtents(fd(held))),
    usage(held, accuracy) {
      if (isTree(held)) return treePayload().usage(fd(held), accuracy);
      return accuracy === 'cheap' ? disk.cheapUsage(fd(held)) : disks.usage(fd(held));
    },
    recallUsage: (held) => recallUsage(fd(held)),
    rememberUsage: (held, usage) => rememberUsage(fd(held), usage),
    leftOut: (held) => of(held).leftOut(fd(held)),
    // A subvolume in a tree may be all that somebody else has; in the place of a disk nothing of his belongs.
    othersIn: (held) => (isTree(held) ? treePayload().leftOut(fd(held)) : []),
    mounts(held) {
      const within = held.filter(isTree).map(directory);
      return [...mountsOn(held, path), ...(within.length > 0 ? treePayload().mounts(within, path) : [])];
    },
    ...(trees && {
      differences: (from: Held, to: Held) => trees.differences(directory(from), directory(to)),
    }),
    ...(trees && {
      switchMounts(from: Held, to: Held) {
        if (isTree(to)) trees.switchMounts(directory(from), directory(to), path);
      },
    }),
    holders(held) {
      const [ofDisks, within] = [held.filter((each) => !isTree(each)), held.filter(isTree)].map((each) =>
        each.map(directory),
      ) as [HeldDirectory[], HeldDirectory[]];
      const found = holdersOf(ofDisks, path);
      if (within.length === 0) return found;
      const inside = treePayload().holders(within, path);
      return {
        holders: [...found.holders, ...inside.holders],
        complete: found.complete && inside.complete,
      };
    },
    path: (held) => (isTree(held) ? treePath(held, path) : pathOf(held, path)),
    openDisk: (held, access) => disk.openDisk(fd(held), access).disk,

    commit: () => payload.commit(root),
    space: () => fileSystemSpace(root),
    settle: () => payload.settle(root),
    [Symbol.dispose]: () => places[Symbol.dispose](),
  };
}

/**
 * In staging may lie what a rollback replaced, and with it what its snapshot leaves out. And in a pool of somebody else's, root
 * would delete whatever he has moved there.
 */
function scopeOf({ place }: Held, isOurs: boolean): Scope {
  return isOurs && place.area === 'tombstones' ? 'whatever' : 'own';
}

/** Every held place of this driver is a directory that it opened itself. */
function directory(held: Held): HeldDirectory {
  return held as HeldDirectory;
}

function fd(held: Held): number {
  return directory(held).fd;
}
