import { readAttribute, writeAttributeByPath } from '../../linux/attributes.ts';
import { commitTransaction, createSnapshot, createSubvolume, subvolumeInfo } from '../../linux/btrfs.ts';
import { type ExtentSums, sumExtents } from '../../linux/btrfs-extents.ts';
import { nestedSubvolumes } from '../../linux/btrfs-nested.ts';
import { hasMoreExtentsThan } from '../../linux/extents.ts';
import {
  type FileStatus,
  firstInode,
  isRegularFile,
  statusAt,
  statusIfAny,
} from '../../linux/file-status.ts';
import {
  createFileAt,
  type Descriptor,
  descriptorPath,
  flush,
  openDirectoryAt,
  resizeFile,
} from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { sizeUnit } from '../../model/sizes.ts';
import { diskName, keepOwner, openDisk, openSource, shareBlocks } from '../directory/disk.ts';
import type { Payload } from '../directory/payload.ts';
import { diskPath, type HeldDirectory, openUnlessForeign } from '../directory/places.ts';
import type { ClonedPayload, CloneRequest, DriverInfo, PayloadState, PayloadUsage } from '../driver.ts';
import { destroyData } from './destroy.ts';
import { identityAttribute } from './identity.ts';
import { givingWay } from './pace.ts';
import { settleDeleted } from './settle.ts';
import { subvolumeTrees } from './tree.ts';
import { volumesInTree } from './volumes-in-tree.ts';

/** The data of an entry is a subvolume, so that snapshots cost the same whatever is in it. */

/**
 * With more extents than this, a clone by subvolume snapshot is faster than one by reflink. Measured by `npm run bench -- --only
 * crossover`, as the time of a reflink over that of a snapshot, at 150 and at 200 extents: clones that are each made durable
 * 0.8 and 1.8; ten made durable together 0.2 and 0.6; not durable yet 0.04 and 0.1. They cross at about 160, 300 and 700 extents,
 * but what is not durable yet is owed to the next commit, and one leaf of the file system's tree holds some 200 extents.
 */
export const manyExtents = 150;

const info: DriverInfo = {
  name: 'btrfs',
  isMounted: true,
  sharesFiles: true,
  sizeUnit,
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
};

export const subvolumePayload: Payload = {
  info,
  listVolumes: volumesInTree,
  disks: {
    create(entry, bytes, identity) {
      using disk = createEmptyDisk(entry, identity);
      resizeFile(disk.fd, bytes);
    },
    clone,
    snapshot(source, entry, access) {
      using data = openDirectoryAt(source, 'data');
      snapshotData(data.fd, entry, access);
    },
    uuid(entry) {
      if (!statusIfAny(entry, 'data')) return undefined;
      using data = openDirectoryAt(entry, 'data');
      return subvolumeInfo(data.fd).uuid;
    },
    inspect,
    leftOut(entry) {
      using data = openUnlessForeign(entry, 'data');
      if (!data || statusAt(data.fd, '').inode !== firstInode) return [];
      return nestedSubvolumes(data.fd).map((nested) => `the subvolume ${nested.name}`);
    },
    usage: exactUsage,
  },
  trees: subvolumeTrees,
  destroy: destroyData,
  givingWay,
  commit: commitTransaction,
  settle: settleDeleted,
};

function createEmptyDisk(entry: number, identity: string): Descriptor {
  createSubvolume(entry, 'data');
  writeAttributeByPath(`${descriptorPath(entry)}/data`, identityAttribute, identity);
  return createFileAt(entry, diskPath);
}

function clone(source: HeldDirectory, staged: HeldDirectory, request: CloneRequest): ClonedPayload {
  source.source ??= openSource(source.fd);
  const { disk: original, status } = source.source;
  const many =
    request.knownExtents === undefined
      ? hasMoreExtentsThan(original.fd, manyExtents)
      : request.knownExtents > manyExtents;
  const method = many || request.replicable ? 'snapshot' : 'reflink';
  if (method === 'snapshot') cloneBySnapshot(source.fd, staged.fd, request);
  else cloneByReflink(original, status, staged, request);
  return {
    method,
    bytes: request.bytes ?? status.bytes,
    sourceTouched: status.changedAt > source.status.madeAt,
  };
}

function cloneByReflink(
  original: Descriptor,
  status: FileStatus,
  staged: HeldDirectory,
  request: CloneRequest,
): void {
  using disk = createEmptyDisk(staged.fd, request.identity);
  shareBlocks(original.fd, disk.fd, oneIsNodatacow);
  if (request.bytes !== undefined && request.bytes > status.bytes) resizeFile(disk.fd, request.bytes);
  // A snapshot keeps owner and mode; a clone must not depend on how it was made.
  keepOwner(disk.fd, status, staged.status);
}

const oneIsNodatacow = 'one is nodatacow (chattr +C) and the other is not; give both the same attribute';

function cloneBySnapshot(source: number, entry: number, request: CloneRequest): void {
  using data = openDirectoryAt(source, 'data');
  snapshotData(data.fd, entry, 'writable');
  // Nothing else is written into it: that would copy the first leaf of its tree, and every extent in that would get one more
  // reference, which takes longer the more clones there are.
  if (request.bytes === undefined || request.bytes <= statusAt(entry, diskPath).bytes) return;
  using disk = openDisk(entry, 'write').disk;
  resizeFile(disk.fd, request.bytes);
}

function snapshotData(data: number, entry: number, access: 'readonly' | 'writable'): void {
  try {
    createSnapshot(data, entry, 'data', access);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL') || statusAt(data, '').inode === firstInode) throw error;
    throw new CoppiceError(
      'damaged',
      'The data of this volume is a plain directory, which other tools have copied there, and of which there are no snapshots; import its disk under another name.',
      { cause: error },
    );
  }
}

function inspect(entry: number): PayloadState | undefined {
  using data = openUnlessForeign(entry, 'data');
  const status = data && statusIfAny(data.fd, diskName);
  if (!status || !isRegularFile(status)) return undefined;
  const subvolume = subvolumeInfo(data.fd);
  return {
    bytes: status.bytes,
    isWhole: statusAt(data.fd, '').inode === firstInode,
    readOnly: subvolume.readOnly,
    identity: readAttribute(data.fd, identityAttribute)?.toString(),
    changedIn: String(subvolume.changedIn),
    createdIn: String(subvolume.createdIn),
  };
}

function exactUsage(entry: number): PayloadUsage {
  using disk = openSource(entry).disk;
  flush(disk.fd);
  return { logicalBytes: statusAt(disk.fd, '').bytes, ...sumOf(disk.fd) };
}

function sumOf(disk: number): ExtentSums {
  try {
    return sumExtents(disk);
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES')) throw error;
    throw new CoppiceError(
      'permission_denied',
      'Measuring to the block reads the trees of btrfs, which only root may do; leave out --exact, or run it as root.',
      { cause: error },
    );
  }
}
