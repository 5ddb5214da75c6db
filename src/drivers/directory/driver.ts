import { readdirSync } from 'node:fs';
import { descriptorPath, statusAt } from '../../linux/files.ts';
import type { LockMode } from '../../linux/locks.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import type { Metadata } from '../../model/metadata.ts';
import type { Name } from '../../model/names.ts';
import type { Driver, Held, Place } from '../driver.ts';
import { discardContent, discardEntry, type Scope } from './discard.ts';
import * as disk from './disk.ts';
import { holdersOf, mountsOn, pathOf, placePath } from './holders.ts';
import type { Payload } from './payload.ts';
import { areas, type HeldDirectory, Places } from './places.ts';
import { snapshotsIn, volumesIn } from './records.ts';
import { recallUsage, rememberUsage } from './usage-cache.ts';

/** The driver of a pool that is a directory. How the data in it is made, kept and destroyed differs from file system to file system. */
export function directoryDriver(root: number, path: string, payload: Payload): Driver {
  const isOurs = statusAt(root, '').uid === process.geteuid?.();
  const places = new Places(root);
  const destroy = (held: Held) => (entry: number) => payload.destroy(entry, scopeOf(held, isOurs));
  return {
    info: payload.info,
    list: (detail) => payload.listVolumes?.(places.volumes) ?? volumesIn(places.volumes, detail),
    listSnapshots: (volume: Name, detail) => snapshotsIn(places.volumes, volume, detail),
    listEntries: (area) => places.listEntries(area),
    foreign: () => readdirSync(descriptorPath(root)).filter((name) => !(name in areas)),
    label: (place) => `${path}/${placePath(place)}`,
    strangers: (held) => places.strangers(directory(held)),
    hold: (place: Place, mode: LockMode, wait: boolean) => places.hold(place, mode, wait),
    exists: (place) => places.exists(place),
    stage: () => places.stage(),
    move: (held, to) => places.move(directory(held), to),
    read: (held) => places.read(directory(held)),
    peek: (place) => places.peek(place),
    write: (held, metadata: Metadata) => places.write(directory(held), metadata),

    create: (staged, bytes, identity) => payload.create(fd(staged), bytes, identity),
    clone: (source, staged, request) => payload.clone(directory(source), directory(staged), request),
    snapshot: (source, staged) => payload.snapshot(fd(source), fd(staged), 'readonly'),
    stageRollback: (snapshot, staged) => payload.snapshot(fd(snapshot), fd(staged), 'writable'),
    exchange: (volume, staged) => disk.exchangeData(fd(volume), fd(staged)),
    adopt: (volume, staged) => disk.adoptData(fd(volume), fd(staged)),
    grow: (volume, bytes) => disk.growDisk(fd(volume), bytes),
    writeOut: (held) => disk.writeOutDisk(fd(held)),
    discardData: (held) => discardContent(fd(held), destroy(held)),
    discard: (held) =>
      places.parentOf(held.place, (parent, name) => discardEntry(parent, name, destroy(held))),

    givingWay: () => payload.givingWay?.(root) ?? (() => {}),

    payloadUuid: (held) => payload.uuid(fd(held)),
    isEmpty: (held) => disk.isEmpty(fd(held)),
    size: (held) => disk.diskSize(fd(held)),
    inspect: (held) => payload.inspect(fd(held)),
    countExtents: (held) => disk.countDiskExtents(fd(held)),
    usage: (held, accuracy) => (accuracy === 'cheap' ? disk.cheapUsage(fd(held)) : payload.usage(fd(held))),
    recallUsage: (held) => recallUsage(fd(held)),
    rememberUsage: (held, usage) => rememberUsage(fd(held), usage),
    leftOut: (held) => payload.leftOut(fd(held)),
    mounts: (held) => mountsOn(held, path),
    holders: (held) => holdersOf(held.map(directory), path),
    path: (held) => pathOf(held, path),
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
