import { readdirSync } from 'node:fs';
import { mappedRanges } from '../../linux/extents.ts';
import { type FileStatus, isRegularFile, statusAt, statusIfAny } from '../../linux/file-status.ts';
import {
  createFileAt,
  type Descriptor,
  descriptorPath,
  flush,
  makeDirectoryAt,
  openAt,
  resizeFile,
  touch,
} from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { waitForDeletedFiles } from '../../linux/xfs.ts';
import { sizeUnit } from '../../model/sizes.ts';
import { diskName, keepOwner, openSource, shareBlocks } from '../directory/disk.ts';
import type { Payload } from '../directory/payload.ts';
import { diskPath, type HeldDirectory, openUnlessForeign } from '../directory/places.ts';
import type { ClonedPayload, CloneRequest, DriverInfo, PayloadState, PayloadUsage } from '../driver.ts';
import { destroyData } from './destroy.ts';
import { type Mark, nextOrder, readMark, writeIdentity, writeMarkOfCopy } from './mark.ts';
import { isWriteProtected, protectFromWrites, writableMode } from './write-protection.ts';

/** The data of an entry is a plain directory with one file. Every copy of it is a reflink. */

const info: DriverInfo = {
  name: 'xfs',
  isMounted: true,
  sharesFiles: true,
  sizeUnit,
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
};

export function filePayload(root: number): Payload {
  return {
    info,
    disks: {
      create(entry, bytes, identity) {
        using disk = createEmptyDisk(entry, identity);
        resizeFile(disk.fd, bytes);
      },
      clone,
      snapshot: (source, entry, access) => copy(root, source, entry, access),
      uuid(entry) {
        const status = statusIfAny(entry, 'data');
        return status && (readMark(entry)?.uuid ?? `inode-${status.inode}`);
      },
      inspect,
      leftOut(entry) {
        using data = openUnlessForeign(entry, 'data');
        if (!data) return [];
        const others = readdirSync(descriptorPath(data.fd)).filter((name) => name !== diskName);
        return others.map((name) => `the file or directory ${name}`);
      },
      usage: exactUsage,
    },
    destroy: destroyData,
    commit,
    settle,
  };
}

/**
 * A file system that keeps a log makes everything durable that was logged before what a flush waits for. A flush waits for the
 * last change of just the directory that it is asked for, so there has to be one. New times take no space, which there may be
 * none of; an attribute would.
 */
export function commit(root: number): void {
  touch(root);
  flush(root);
}

/** @param identity undefined when its mark is written later */
function createEmptyDisk(entry: number, identity?: string): Descriptor {
  makeDirectoryAt(entry, 'data', 0o755);
  if (identity !== undefined) writeIdentity(entry, identity);
  return createFileAt(entry, diskPath);
}

function clone(source: HeldDirectory, staged: HeldDirectory, request: CloneRequest): ClonedPayload {
  source.source ??= openSource(source.fd);
  const { disk: original, status } = source.source;
  source.source.touched ??= isTouched(readMark(source.fd), status);
  using disk = createEmptyDisk(staged.fd, request.identity);
  shareBlocks(original.fd, disk.fd, oneIsRealtime);
  if (request.bytes !== undefined && request.bytes > status.bytes) resizeFile(disk.fd, request.bytes);
  keepOwner(disk.fd, { ...status, mode: writableMode(status.mode) }, staged.status);
  return {
    method: 'reflink',
    bytes: request.bytes ?? status.bytes,
    sourceTouched: source.source.touched,
  };
}

const oneIsRealtime =
  'one of them lies on the realtime device of the file system, which can not share blocks; move it off that';

function copy(root: number, source: number, entry: number, access: 'readonly' | 'writable'): void {
  const { disk: original, status } = openSource(source);
  using _original = original;
  using disk = createEmptyDisk(entry);
  shareBlocks(original.fd, disk.fd, oneIsRealtime);
  const mode = access === 'writable' ? writableMode(status.mode) : status.mode;
  keepOwner(disk.fd, { ...status, mode }, statusAt(disk.fd, ''));
  const mark = readMark(source);
  if (access === 'writable') {
    writeMarkOfCopy(entry, mark);
    return;
  }
  protectFromWrites(disk.fd, status.mode);
  const { changedAt } = statusAt(disk.fd, '');
  writeMarkOfCopy(entry, mark, { order: nextOrder(root), changedAt });
}

/** Whether what never changes has changed. */
function isTouched(mark: Mark | undefined, { changedAt }: FileStatus): boolean {
  return mark?.sealed !== undefined && mark.sealed.changedAt !== changedAt;
}

function inspect(entry: number): PayloadState | undefined {
  using data = openUnlessForeign(entry, 'data');
  const status = data && statusIfAny(data.fd, diskName);
  if (!status || !isRegularFile(status)) return undefined;
  using disk = openAt(data.fd, diskName, 0);
  const mark = readMark(entry);
  const createdIn = mark?.sealed?.order ?? 0n;
  return {
    bytes: status.bytes,
    isWhole: true,
    readOnly: isWriteProtected(disk.fd, status.mode),
    identity: mark?.identity,
    createdIn: String(createdIn),
    changedIn: String(isTouched(mark, status) ? createdIn + 1n : createdIn),
  };
}

/** Blocks are freed one by one, so what the file shows is all that it holds on to. */
function exactUsage(entry: number): PayloadUsage {
  using disk = openSource(entry).disk;
  flush(disk.fd);
  let [referencedBytes, exclusiveBytes] = [0, 0];
  for (const { start, end, shared } of mappedRanges(disk.fd)) {
    referencedBytes += end - start;
    if (!shared) exclusiveBytes += end - start;
  }
  return { logicalBytes: statusAt(disk.fd, '').bytes, referencedBytes, exclusiveBytes };
}

function settle(root: number): boolean {
  try {
    waitForDeletedFiles(root);
    commit(root); // only then may the blocks be used again, or given back to the host
    return true;
  } catch (error) {
    if (hasErrno(error, 'EPERM', 'EACCES', 'ENOTTY', 'EROFS')) return false;
    throw error;
  }
}
