import { createPool } from '../../src/index.ts';
import { makeTestPool, type TestPool, type TestPoolOptions } from '../support/test-pool.ts';
import { makeZfsPool } from '../support/zfs-pool.ts';
import { btrfsTools, type Tools, xfsTools, zfsTools } from './tools.ts';

/** What the suite runs on. A new driver is one more entry; the cases stay as they are. */
export interface Backend {
  readonly name: 'btrfs' | 'xfs' | 'zfs';
  /** What it can do; a text says why it can't. A case compares this with what a pool says of itself. */
  readonly capabilities: Readonly<Record<string, true | string>>;
  /** What cases need beside: of the file systems themselves, and not of what Coppice makes of them. */
  readonly traits: Readonly<Record<Trait, true | string>>;
  /** Sizes of disks are multiples of this. */
  readonly sizeUnit: number;
  /** How much of what repeats a thing many times is done: less where a kernel is emulated, which takes ten times as long. */
  readonly scale: number;
  readonly tools: Tools;
  makePool(options?: TestPoolOptions): Promise<TestPool>;
  /** The library's, which makes a pool of this kind. */
  readonly createPool: typeof createPool;
}

export type Trait =
  /** Of an extent of which one block is still used, all are. */
  | 'wholeExtents'
  /** Snapshots hold whatever lies beside the disk, too. */
  | 'wholeDirectories'
  /** A copy by other tools is not what Coppice makes. */
  | 'copiesDiffer'
  /** A pool is a directory, in which others can make and change what they like. */
  | 'directories'
  /** Disks are files. */
  | 'files'
  /** What only one refers to is known when it was measured. */
  | 'usageIsMeasured'
  /** Several snapshots are taken one after the other, and appear together. */
  | 'groupsInSteps'
  /** What somebody has open can be taken away from under him. */
  | 'removesOpenSnapshots'
  /** Other mounts of a tree follow it. */
  | 'switchesMounts'
  /** That what is freed is given back to the device can be ended by a remount. */
  | 'discardChangesWhileMounted';

const all: readonly Backend[] = [
  {
    name: 'btrfs',
    capabilities: {
      blockVolumes: true,
      treeVolumes: true,
      nodatacow: true,
      treeDifferences: true,
      constantTimeClone: true,
      snapshots: true,
      sameInstantSnapshots:
        'A btrfs snapshot covers one subvolume, so several volumes share an instant only if their writers are stopped.',
      incrementalStreams:
        'Streams are not built yet; clones made with --replicable keep the lineage that they will need.',
      replicableClones: true,
      dataChecksums: true,
    },
    traits: {
      wholeExtents: true,
      wholeDirectories: true,
      copiesDiffer: true,
      switchesMounts: true,
      discardChangesWhileMounted: true,
      directories: true,
      files: true,
      groupsInSteps: true,
      usageIsMeasured: true,
      removesOpenSnapshots: true,
    },
    sizeUnit: 4096,
    scale: 1,
    tools: btrfsTools,
    makePool: (options) => makeTestPool({ driver: 'btrfs', ...options }),
    createPool: (options) => createPool({ driver: 'btrfs', ...options }),
  },
  {
    name: 'xfs',
    capabilities: {
      blockVolumes: true,
      treeDifferences: 'What is different is told of directory trees, and there are none on xfs.',
      treeVolumes: 'xfs has no snapshots of directories, so there can be no tree volumes on it.',
      nodatacow: 'xfs overwrites in place what is not shared; there is nothing to choose.',
      constantTimeClone:
        'xfs copies the list of all extents, so clones, snapshots and rollbacks of a fragmented disk take longer the more extents it has.',
      snapshots: true,
      sameInstantSnapshots:
        'Each disk is a file of its own, so several volumes share an instant only if their writers are stopped.',
      incrementalStreams: 'xfs has no stream of changes.',
      replicableClones: 'xfs has no stream of changes, so no clone on it can be sent against its source.',
      dataChecksums: 'xfs has no checksums of data, so a disk that loses data is not noticed.',
    },
    traits: {
      wholeExtents: 'xfs frees blocks one by one.',
      wholeDirectories:
        'A snapshot on xfs is a copy of the disk alone; a rollback that would lose more is refused.',
      switchesMounts: 'There are no trees on xfs.',
      copiesDiffer: 'On xfs a copy of a directory is as good as the original.',
      discardChangesWhileMounted: 'xfs takes it from its first mount, and ignores it later.',
      directories: true,
      files: true,
      groupsInSteps: true,
      usageIsMeasured: true,
      removesOpenSnapshots: true,
    },
    sizeUnit: 4096,
    scale: 1,
    tools: xfsTools,
    makePool: (options) => makeTestPool({ driver: 'xfs', ...options }),
    createPool: (options) => createPool({ driver: 'xfs', ...options }),
  },
  {
    name: 'zfs',
    capabilities: {
      blockVolumes: true,
      treeDifferences: 'Comparing trees on ZFS is not built yet; "zfs diff" does it.',
      treeVolumes: true,
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
    traits: {
      wholeExtents: 'ZFS frees blocks one by one.',
      wholeDirectories: 'A disk on ZFS is a block device, and nothing lies beside it.',
      switchesMounts: 'ZFS mounts a tree itself; another mount of one stands in the way.',
      copiesDiffer: 'A pool on ZFS is no directory that could be copied.',
      directories: 'A pool on ZFS is no directory, so nothing can be planted in it.',
      files: 'Disks on ZFS are block devices.',
      usageIsMeasured: 'ZFS counts at any time what only one refers to.',
      groupsInSteps: 'ZFS takes several snapshots in one step, in which there is no moment in between.',
      removesOpenSnapshots: 'ZFS destroys no snapshot that somebody has open.',
      discardChangesWhileMounted: 'A pool on ZFS is not mounted.',
    },
    sizeUnit: 16384,
    scale: 0.1,
    tools: zfsTools,
    makePool: (options) => makeZfsPool(options),
    createPool: (options) => createPool({ ...options, driver: 'zfs' }),
  },
];

/** Those that can run here: a kernel with ZFS has only the guest, and that has nothing else to do. */
const wanted = process.env['COPPICE_TEST_BACKENDS']?.split(' ') ?? ['btrfs', 'xfs'];
export const backends: readonly Backend[] = all.filter(({ name }) => wanted.includes(name));

export type FileSystem = Backend & { readonly name: 'btrfs' | 'xfs' };

/** Those whose pools are directories of a file system. */
export const fileSystems: readonly FileSystem[] = backends.filter(
  (backend): backend is FileSystem => backend.name !== 'zfs',
);
