import { readdirSync } from 'node:fs';
import { descriptorPath, removeDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { openUnlessForeign } from './places.ts';

/**
 * `own`: only what Coppice makes. `whatever`: also what other tools have put in the place of the data, or into it: somebody has
 * asked for the volume that they belong to to be removed.
 */
export type Scope = 'own' | 'whatever';

/** Destroys the data of an open entry. */
export type DestroyData = (entry: number) => void;

/**
 * Destroys what Coppice made in an entry, and then the entry. Can be interrupted at any point and run again. What is not ours
 * (a file that somebody put there) is left, and with it the entry: `pool check` reports it.
 */
export function discardEntry(parent: number, name: string, destroyData: DestroyData): void {
  {
    using entry = openUnlessForeign(parent, name);
    if (!entry) return;
    discardContent(entry.fd, destroyData);
  }
  removeOurs(() => removeDirectoryAt(parent, name));
}

/** The same for what is in an entry, which itself stays. */
export function discardContent(entry: number, destroyData: DestroyData): void {
  {
    using snapshots = openUnlessForeign(entry, 'snapshots');
    if (snapshots) {
      for (const name of readdirSync(descriptorPath(snapshots.fd)))
        discardEntry(snapshots.fd, name, destroyData);
      removeOurs(() => removeDirectoryAt(entry, 'snapshots'));
    }
  }
  destroyData(entry);
}

/** A copy of a volume is two levels deep; what is deeper than anybody makes on purpose would use up descriptors. */
const deepest = 100;

export interface TreeRemoval {
  /** Removes a directory that is more than that; returns whether it was. */
  readonly removeSpecial: (parent: number, name: string, directory: number) => boolean;
  readonly removeFile: (parent: number, name: string) => void;
}

/** Removes a directory with all that is in it, depth first. Links are not followed, and mounts not entered. */
export function removeTree(parent: number, name: string, how: TreeRemoval, depth = 0): void {
  {
    using directory = openUnlessForeign(parent, name);
    if (!directory || depth > deepest) return;
    if (how.removeSpecial(parent, name, directory.fd)) return;
    for (const entry of readdirSync(descriptorPath(directory.fd), { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(directory.fd, entry.name, how, depth + 1);
      else how.removeFile(directory.fd, entry.name);
    }
  }
  removeOurs(() => removeDirectoryAt(parent, name));
}

/** What stands in the way is not ours, and stays. */
export function removeOurs(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'ENOENT', 'EINVAL', 'ENOTDIR', 'EISDIR', 'EBUSY')) throw error;
  }
}
