import { readdirSync } from 'node:fs';
import { readAttribute } from '../../linux/attributes.ts';
import { destroySubvolume, destroySubvolumeById, subvolumeInfo } from '../../linux/btrfs.ts';
import { nestedSubvolumes } from '../../linux/btrfs-trees.ts';
import {
  descriptorPath,
  firstInode,
  removeDirectoryAt,
  removeFileAt,
  statusAt,
  statusIfAny,
} from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { decodeMetadata } from '../../model/metadata.ts';
import { metadataAttribute, openUnlessForeign } from './places.ts';

/**
 * `own`: only what Coppice makes. `whatever`: also a plain directory that a copy with other tools has in the place of the data, and
 * subvolumes that somebody made in the data: somebody has asked for the volume that they belong to to be removed.
 */
export type Scope = 'own' | 'whatever';

/**
 * Destroys what Coppice made in an entry, and then the entry. Can be interrupted at any point and run again. What is not ours
 * (a file that somebody put there) is left, and with it the entry: `pool check` reports it.
 */
export function discardEntry(parent: number, name: string, scope: Scope): void {
  {
    using entry = openUnlessForeign(parent, name);
    if (!entry) return;
    discardContent(entry.fd, scope);
  }
  removeOurs(() => removeDirectoryAt(parent, name));
}

/** The same for what is in an entry, which itself stays. */
export function discardContent(entry: number, scope: Scope): void {
  {
    using snapshots = openUnlessForeign(entry, 'snapshots');
    if (snapshots) {
      for (const name of readdirSync(descriptorPath(snapshots.fd))) discardEntry(snapshots.fd, name, scope);
      removeOurs(() => removeDirectoryAt(entry, 'snapshots'));
    }
  }
  if (!statusIfAny(entry, 'data')) return;
  try {
    destroySubvolume(entry, 'data');
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'EINVAL', 'ENOTDIR')) throw error;
    if (scope === 'whatever') discardForeign(entry);
  }
}

/** What lies in the place of the data is not as Coppice makes it. */
function discardForeign(entry: number): void {
  const metadata = readAttribute(entry, metadataAttribute);
  const type = metadata && decodeMetadata(metadata)?.type;
  if (type === 'volume' || type === 'snapshot') removeOurs(() => removeTree(entry, 'data', 0));
}

/** A copy of a volume is two levels deep; what is deeper than anybody makes on purpose would use up descriptors. */
const deepest = 100;

/** Removes a directory or subvolume with all that is in it, depth first. Links are not followed, and mounts not entered. */
function removeTree(parent: number, name: string, depth: number): void {
  {
    using directory = openUnlessForeign(parent, name);
    if (!directory || depth > deepest) return;
    const { inode } = statusAt(directory.fd, '');
    if (inode === firstInode) {
      removeNested(directory.fd, subvolumeInfo(directory.fd).id);
      destroySubvolume(parent, name);
      return;
    }
    for (const entry of readdirSync(descriptorPath(directory.fd), { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(directory.fd, entry.name, depth + 1);
      else removeFileAt(directory.fd, entry.name);
    }
  }
  removeOurs(() => removeDirectoryAt(parent, name));
}

/** By their ids, so that no path has to be gone. */
function removeNested(fd: number, id: bigint): void {
  for (const nested of nestedSubvolumes(fd, id)) {
    removeNested(fd, nested.id);
    destroySubvolumeById(fd, nested.id);
  }
}

function removeOurs(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'ENOENT', 'EINVAL', 'ENOTDIR', 'EBUSY')) throw error;
  }
}
