import { readdirSync } from 'node:fs';
import { readAttributeByPath } from '../../linux/attributes.ts';
import { type FileStatus, isDirectory, isRegularFile, statusIfAny } from '../../linux/file-status.ts';
import { descriptorPath } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { decodeMetadata } from '../../model/metadata-text.ts';
import type { Name } from '../../model/names.ts';
import type { RecordDetail, SnapshotRecord, VolumeRecord } from '../driver.ts';
import { diskPath, metadataAttribute, openUnlessForeign, treeName } from './places.ts';
import { parseUsage, usageAttribute } from './usage-cache.ts';

/**
 * What lies in the directory of volumes, and among the snapshots of one. Links are not followed and mounts not entered, wherever they
 * stand.
 */
export function volumesIn(volumes: number, detail?: RecordDetail): VolumeRecord[] {
  return readdirSync(descriptorPath(volumes)).flatMap((name) => volumeRecordOf(volumes, name, detail) ?? []);
}

export function snapshotsIn(volumes: number, volume: Name, detail?: RecordDetail): SnapshotRecord[] {
  using directory = openUnlessForeign(volumes, `${volume}/snapshots`);
  if (!directory) return [];
  const { fd } = directory;
  return readdirSync(descriptorPath(fd)).flatMap((name) => recordOf(fd, name, detail) ?? []);
}

/** One volume, looked at by itself; undefined when it is gone. */
export function volumeRecordOf(
  volumes: number,
  name: string,
  detail?: RecordDetail,
): VolumeRecord | undefined {
  const record = recordOf(volumes, name, detail);
  if (!record) return undefined;
  const snapshots = countSnapshots(volumes, name);
  if (snapshots === 'unreadable') return { ...record, snapshots: 0, snapshotsUnreadable: true };
  return { ...record, snapshots };
}

/** One volume with what its user may not read, such as what root has made in it, must not fail the listing of all. */
function countSnapshots(volumes: number, name: string): number | 'unreadable' {
  try {
    using snapshots = openUnlessForeign(volumes, `${name}/snapshots`);
    return snapshots ? readdirSync(descriptorPath(snapshots.fd)).length : 0;
  } catch (error) {
    if (hasErrno(error, 'EACCES', 'EPERM')) return 'unreadable';
    throw error;
  }
}

function recordOf(
  directory: number,
  name: string,
  detail: RecordDetail | undefined,
): SnapshotRecord | undefined {
  const path = `${descriptorPath(directory)}/${name}`;
  const bytes = readAttributeByPath(path, metadataAttribute);
  // What somebody has removed since its name was read must not look like something that is not ours.
  if (!bytes && !statusIfAny(directory, name)) return undefined;
  const status = diskStatus(directory, name, bytes !== undefined);
  const measured = detail === 'usage' ? parseUsage(readAttributeByPath(path, usageAttribute)) : undefined;
  return {
    name,
    metadata: bytes && decodeMetadata(bytes),
    bytes: status?.bytes,
    allocatedBytes: status?.allocatedBytes,
    measured,
    ...(!status && bytes && isDirectoryAt(directory, `${name}/${treeName}`) && { isTree: true as const }),
  };
}

/** @param isEntry it has metadata, which a link can't have, so that it need not be looked at for being one */
function diskStatus(directory: number, name: string, isEntry: boolean): FileStatus | undefined {
  if (!isEntry && !isDirectoryAt(directory, name)) return undefined;
  if (!isDirectoryAt(directory, `${name}/data`)) return undefined;
  const status = statusIfAny(directory, `${name}/${diskPath}`);
  return status && isRegularFile(status) ? status : undefined;
}

function isDirectoryAt(directory: number, path: string): boolean {
  const status = statusIfAny(directory, path);
  return status !== undefined && isDirectory(status);
}
