import { readAttribute } from '../../linux/attributes.ts';
import { destroySubvolume, destroySubvolumeById, makeSubvolumeWritable } from '../../linux/btrfs.ts';
import { nestedSubvolumes } from '../../linux/btrfs-nested.ts';
import { firstInode, statusAt, statusIfAny } from '../../linux/file-status.ts';
import { removeFileAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { decodeMetadata } from '../../model/metadata-text.ts';
import { removeOurs, removeTree, type Scope, type TreeRemoval } from '../directory/discard.ts';
import { metadataAttribute, openUnlessForeign, treeName } from '../directory/places.ts';

/** Destroys the subvolume with the data of an entry, or what stands in its place: of a disk, or of a directory tree. */
export function destroyData(entry: number, scope: Scope): void {
  for (const name of ['data', treeName]) if (statusIfAny(entry, name)) destroyNamed(entry, name, scope);
}

function destroyNamed(entry: number, name: string, scope: Scope): void {
  try {
    destroySubvolume(entry, name);
  } catch (error) {
    if (hasErrno(error, 'EPERM', 'EACCES', 'EROFS')) destroyAsOwner(entry, name, scope);
    else if (!hasErrno(error, 'ENOTEMPTY', 'EINVAL', 'ENOTDIR')) throw error;
    else if (scope === 'whatever') destroyForeign(entry, name);
  }
}

/**
 * Only root may destroy a subvolume; with the mount option `user_subvol_rm_allowed` its owner too, but not one that is read-only.
 * Since kernel 4.18 he may remove one that is empty as he removes a directory.
 */
function destroyAsOwner(entry: number, name: string, scope: Scope): void {
  {
    using data = openUnlessForeign(entry, name);
    if (!data) return;
    const isSubvolume = statusAt(data.fd, '').inode === firstInode;
    // What the kernel would refuse to destroy is not ours: a plain directory, or one with subvolumes in it.
    if (scope === 'own' && (!isSubvolume || nestedSubvolumes(data.fd).length > 0)) return;
    if (isSubvolume) makeSubvolumeWritable(data.fd);
  }
  removeTree(entry, name, { removeSpecial: () => false, removeFile: removeFileAt });
}

/** What lies in the place of the data is a plain directory, which a copy with other tools has there; or it has subvolumes in it. */
function destroyForeign(entry: number, name: string): void {
  const metadata = readAttribute(entry, metadataAttribute);
  const type = metadata && decodeMetadata(metadata)?.type;
  if (type === 'volume' || type === 'snapshot') removeOurs(() => removeTree(entry, name, withSubvolumes));
}

const withSubvolumes: TreeRemoval = {
  removeFile: removeFileAt,
  removeSpecial(parent, name, directory) {
    if (statusAt(directory, '').inode !== firstInode) return false;
    removeNested(directory);
    destroySubvolume(parent, name);
    return true;
  },
};

/** Depth first; by their ids, which also names one whose directory is read-only. */
function removeNested(fd: number): void {
  for (const { id, path } of nestedSubvolumes(fd)) {
    {
      using nested = openUnlessForeign(fd, path);
      if (nested) removeNested(nested.fd);
    }
    destroySubvolumeById(fd, id);
  }
}
