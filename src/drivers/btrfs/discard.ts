import { readdirSync } from 'node:fs';
import { destroySubvolume } from '../../linux/btrfs.ts';
import { descriptorPath, removeDirectoryAt, statusIfAny } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { openUnlessForeign } from './places.ts';

/**
 * Destroys what Coppice made in an entry, and then the entry. Can be interrupted at any point and run again. What is not ours
 * (a file that somebody put there) is left, and with it the entry: `pool check` reports it.
 */
export function discardEntry(parent: number, name: string): void {
  {
    using entry = openUnlessForeign(parent, name);
    if (!entry) return;
    discardContent(entry.fd);
  }
  removeOurs(() => removeDirectoryAt(parent, name));
}

/** The same for what is in an entry, which itself stays. */
export function discardContent(entry: number): void {
  {
    using snapshots = openUnlessForeign(entry, 'snapshots');
    if (snapshots) {
      for (const name of readdirSync(descriptorPath(snapshots.fd))) discardEntry(snapshots.fd, name);
      removeOurs(() => removeDirectoryAt(entry, 'snapshots'));
    }
  }
  if (statusIfAny(entry, 'data')) removeOurs(() => destroySubvolume(entry, 'data'));
}

function removeOurs(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'ENOENT', 'EINVAL', 'ENOTDIR')) throw error;
  }
}
