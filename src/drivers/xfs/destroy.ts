import { constants } from 'node:fs';
import { openAt, removeDirectoryAt, removeFileAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { removeOurs, removeTree, type Scope, type TreeRemoval } from '../directory/discard.ts';
import { diskName } from '../directory/disk.ts';
import { openUnlessForeign } from '../directory/places.ts';
import { allowRemoval } from './write-protection.ts';

/** Destroys the disk of an entry and the directory that holds it, or what stands in its place. */
export function destroyData(entry: number, scope: Scope): void {
  if (scope === 'whatever') {
    removeTree(entry, 'data', withProtectedFiles);
    return;
  }
  {
    using data = openUnlessForeign(entry, 'data');
    if (!data) return;
    removeOurs(() => removeProtected(data.fd, diskName));
  }
  removeOurs(() => removeDirectoryAt(entry, 'data'));
}

const withProtectedFiles: TreeRemoval = { removeSpecial: () => false, removeFile: removeProtected };

function removeProtected(directory: number, name: string): void {
  try {
    removeFileAt(directory, name);
  } catch (error) {
    // Only a disk's flag is ours to take off.
    if (!hasErrno(error, 'EPERM') || name !== diskName) throw error;
    const { O_RDONLY, O_NONBLOCK } = constants;
    using disk = openAt(directory, name, O_RDONLY | O_NONBLOCK);
    allowRemoval(disk.fd);
    removeFileAt(directory, name);
  }
}
