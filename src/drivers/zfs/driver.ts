import { openDetached } from '../../linux/detached-mount.ts';
import { closeLibrary } from '../../linux/libzfs.ts';
import { cloneDataset, setProperties, syncPool, waitForFrees } from '../../linux/zfs-core.ts';
import { openZvol, waitForLink } from '../../linux/zvol.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Metadata } from '../../model/metadata.ts';
import type { ClonedPayload, CloneRequest, Driver, DriverInfo, Held, Place } from '../driver.ts';
import { runZfs } from './command.ts';
import type { HeldDataset } from './held.ts';
import { holdersOf, mountsOf } from './holders.ts';
import { inspect, usage } from './inspect.ts';
import {
  dataOf,
  entryOf,
  type Layout,
  layoutOf,
  metadataProperty,
  poolProperty,
  splitSnapshot,
  workProperty,
} from './layout.ts';
import { localProperties } from './local.ts';
import { childrenOf, propertiesOf } from './look.ts';
import { clonesOf } from './look-at-snapshots.ts';
import { defaultBlockBytes, describing, makeEntry, materialise, originOf, required } from './make.ts';
import { encodeProperty } from './metadata.ts';
import { exchange, move } from './move.ts';
import { Places } from './places.ts';
import { volumesIn } from './records.ts';
import { discard } from './remove.ts';
import { snapshotTogether } from './snapshot-together.ts';
import { snapshotsOf } from './snapshots.ts';
import { atBoot, directoryOf, mountAt, mountedAt, writeOutTree } from './trees.ts';

export const info: DriverInfo = {
  name: 'zfs',
  isMounted: false,
  sharesFiles: 'disks on zfs are block devices, which share no blocks with files',
  sizeUnit: defaultBlockBytes,
  blockSizes: [defaultBlockBytes, 4096, 8192, 32768, 65536, 131072],
  treeBlockSizes: [131072, 4096, 8192, 16384, 32768, 65536, 262144, 524288, 1048576],
  capabilities: {
    blockVolumes: true,
    treeVolumes: true,
    treeDifferences: 'Comparing trees on ZFS is not built yet; "zfs diff" does it.',
    nodatacow:
      'ZFS never overwrites in place; what makes it fast for a database is the size of its records (--block-size).',
    constantTimeClone: true,
    snapshots: true,
    sameInstantSnapshots: true,
    incrementalStreams:
      'Streams are not built yet; every clone on ZFS can be sent against its origin when they are.',
    replicableClones: true,
    dataChecksums: true,
  },
};

/** The driver of a pool that is a dataset of ZFS. Volumes are zvols below it. */
export function zfsDriver(dataset: string, locks: number): Driver {
  const places = new Places(layoutOf(dataset), locks);
  const { layout } = places;
  const { zpool } = layout;
  const sizeOf = (held: HeldDataset): number => {
    const { draft } = held;
    if (draft?.kind === 'volume') return draft.bytes;
    if (draft?.kind === 'tree') return 0;
    if (draft) return (draft.kind === 'clone' ? draft.bytes : undefined) ?? sizeOf(draft.source);
    // A directory tree has none.
    return Number(propertiesOf(required(held), ['volsize']).volsize ?? 0);
  };
  const othersIn = (held: Held): readonly string[] => {
    const { dataset: data } = ours(held);
    if (data === undefined || places.kindOf(ours(held)) === 'block') return [];
    return childrenOf(data).map((name) => `the dataset ${name}`);
  };
  return {
    info,
    list: () => volumesIn(layout),
    listSnapshots: (volume, detail) => snapshotsOf(places, volume, detail),
    listEntries: (area) => places.listEntries(area),
    // What somebody else has below the dataset of the pool is listed among the volumes.
    foreign: () => [],
    label: (place) => placeLabel(places.layout, place),
    strangers: () => [],
    hold: (place, mode, wait) => places.hold(place, mode, wait),
    exists: (place) => places.exists(place),
    stage: () => places.stage(),
    move(held, to) {
      move(places, ours(held), to);
      mountAtBootAgain(places, ours(held));
    },
    snapshotTogether: (members) => snapshotTogether(places, members),
    read: (held) => places.read(ours(held)),
    peek: (place: Place) => places.peek(place),
    write: (held, metadata) => write(places, ours(held), metadata),

    create(staged, bytes, _identity, blockBytes) {
      ours(staged).draft = { kind: 'volume', bytes, blockBytes };
    },
    createTree(staged, _identity, { blockBytes, owner, mode }) {
      if (owner || mode !== undefined) {
        throw new CoppiceError(
          'unsupported',
          'On zfs a directory tree belongs to root when it is made; leave out owner and mode, and set them with chown and chmod on what "coppice path" prints.',
        );
      }
      ours(staged).draft = { kind: 'tree', blockBytes };
    },
    clone: (source, staged, request) => clone(places, ours(source), ours(staged), request, sizeOf),
    snapshot(source, staged) {
      ours(staged).draft = { kind: 'snapshot', source: ours(source) };
    },
    stageRollback: (snapshot, staged) => stageRollback(places, ours(snapshot), ours(staged)),
    exchange(volume, staged) {
      exchange(places, ours(volume), ours(staged));
      mountAtBootAgain(places, ours(volume));
    },
    adopt() {
      throw new CoppiceError('damaged', 'a zvol is there as long as its volume is');
    },
    grow: (volume, bytes) => void runZfs('zfs', ['set', `volsize=${bytes}`, required(ours(volume))]),
    // What somebody has written to a disk and not flushed is, when a snapshot is taken.
    writeOut(held) {
      if (places.kindOf(ours(held)) === 'tree' && held.place.area === 'volumes')
        writeOutTree(required(ours(held)));
    },
    discard: (held) => discard(places, ours(held)),
    // What descends from it keeps it alive, and with it the record.
    discardData: (held) => discard(places, ours(held)),
    givingWay: () => () => {},

    payloadUuid(held) {
      const { dataset: data } = ours(held);
      return data === undefined ? undefined : propertiesOf(data, ['guid']).guid;
    },
    isEmpty: () => false,
    sizeUnitOf(held) {
      const [volume] = splitSnapshot(required(ours(held)));
      return Math.max(info.sizeUnit, Number(propertiesOf(volume, ['volblocksize']).volblocksize ?? 0));
    },
    size: (held) => sizeOf(ours(held)),
    inspect: (held) => inspect(places, ours(held)),
    leftOut: othersIn,
    othersIn,
    countExtents: () => 0,
    // The engine has waited for what was under way, where it wants to be exact.
    usage: (held) => usage(layout, ours(held)),
    recallUsage: () => undefined,
    rememberUsage: () => {},
    mounts: (held) => mountsOf(places, held.map(ours)),
    holders: (held) => holdersOf(places, held.map(ours)),
    path(held) {
      const { place } = held;
      const data = materialise(places, ours(held));
      if (places.kindOf(ours(held)) === 'tree') return pathOfTree(layout, data);
      if (place.area === 'snapshots') showSnapshots(data);
      return waitForLink({ dataset: data, bytes: sizeOf(ours(held)) });
    },

    openStagedTree: (staged) => openDetached('zfs', required(ours(staged)), {}, 'write'),
    mountedAt: (held) => mountedAt(required(ours(held))),
    mountAt: (held, directory) => mountAt(required(ours(held)), directory),
    openDisk(held, access) {
      const data = materialise(places, ours(held));
      return openZvol({ dataset: data, bytes: sizeOf(ours(held)) }, access);
    },
    neededBy: (held) => clonesOf(ours(held).dataset),

    // Every call returns when what it did is on the disks.
    commit() {},
    space() {
      const found = propertiesOf(dataset, ['used', 'available', 'compressratio']);
      const freeBytes = Number(found.available ?? 0);
      return {
        totalBytes: Number(found.used ?? 0) + freeBytes,
        freeBytes,
        compressRatio: Number(found.compressratio ?? 1),
      };
    },
    settle() {
      // What was destroyed is freed with the next transaction groups, and the next by itself would come in five seconds.
      for (let group = 0; group < 3; group++) syncPool(zpool);
      waitForFrees(zpool);
      return true;
    },
    [Symbol.dispose]: closeLibrary,
  };
}

/** Every held place of this driver was made by it. */
function ours(held: Held): HeldDataset {
  return held as HeldDataset;
}

function write(places: Places, held: HeldDataset, metadata: Metadata): void {
  if (held.draft) {
    held.draftMetadata = metadata;
    return;
  }
  held.change();
  const text = encodeProperty(metadata);
  switch (held.place.area) {
    case 'pool':
      setProperties(places.layout.dataset, { [poolProperty]: text });
      return;
    case 'staging':
      if (metadata.type === 'volume') setProperties(required(held), { [metadataProperty]: text });
      else makeEntry(places, held, workProperty, metadata);
      held.dataset ??= entryOf(places.layout, held.place);
      return;
    default:
      // What is destroyed already keeps no record, and what still stands keeps its own.
      if (metadata.type !== 'tombstone') setProperties(required(held), { [metadataProperty]: text });
  }
}

/** What is moved or exchanged must not be mounted at boot in between. */
function mountAtBootAgain(places: Places, held: HeldDataset): void {
  if (held.place.area !== 'volumes') return;
  const metadata = places.read(held);
  if (metadata?.type === 'volume' && metadata.at?.boot === 'zfs') atBoot(required(held));
}

function clone(
  places: Places,
  source: HeldDataset,
  staged: HeldDataset,
  { bytes, isMarked }: CloneRequest,
  sizeOf: (held: HeldDataset) => number,
): ClonedPayload {
  const describesItself = bytes === undefined && !isMarked && originOf(places, source).isFixed;
  staged.draft = { kind: 'clone', source, bytes };
  // What its clones are made from never changes, and neither does its size.
  const known = describesItself ? source.memory : undefined;
  const sourceBytes = known?.bytes ?? sizeOf(source);
  if (known) known.bytes = sourceBytes;
  return {
    method: 'snapshot',
    bytes: bytes ?? sourceBytes,
    sourceTouched: false,
    ...(describesItself && { describesItself: true }),
  };
}

function stageRollback(places: Places, snapshot: HeldDataset, staged: HeldDataset): void {
  const { place } = snapshot;
  const metadata = place.area === 'snapshots' ? places.read(ours(place.volume)) : undefined;
  const data = dataOf(entryOf(places.layout, staged.place));
  const local = place.area === 'snapshots' ? localProperties(required(ours(place.volume))) : undefined;
  places.claim(staged);
  cloneDataset(required(snapshot), data, {
    ...places.propertiesFor(places.kindOf(snapshot)),
    ...local,
    ...describing(metadata),
  });
  staged.dataset = data;
}

/** @throws CoppiceError unsupported */
function pathOfTree(layout: Layout, dataset: string): string {
  if (!dataset.startsWith(`${layout.branches}/`)) return directoryOf(dataset);
  throw new CoppiceError(
    'unsupported',
    'The files of this snapshot are on a former state of the volume, which is mounted nowhere; clone it to look at them.',
  );
}

/** The devices of snapshots are there only where somebody wants one: each is work for the kernel and for udev. */
function showSnapshots(snapshot: string): void {
  const [dataset] = splitSnapshot(snapshot);
  if (propertiesOf(dataset, ['snapdev']).snapdev === 'visible') return;
  runZfs('zfs', ['set', 'snapdev=visible', dataset]);
}

function placeLabel(layout: Layout, place: Place): string {
  switch (place.area) {
    case 'pool':
      return layout.dataset;
    case 'volumes':
      return `${layout.dataset}/${place.name}`;
    case 'snapshots':
      return `${placeLabel(layout, place.volume.place)}@${place.name}`;
    default:
      return entryOf(layout, place);
  }
}
