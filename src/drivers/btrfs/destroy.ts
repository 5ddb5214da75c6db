import { readAttribute } from '../../linux/attributes.ts';
import { destroySubvolume, destroySubvolumeById, subvolumeInfo } from '../../linux/btrfs.ts';
import { nestedSubvolumes } from '../../linux/btrfs-trees.ts';
import { firstInode, removeFileAt, statusAt, statusIfAny } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { decodeMetadata } from '../../model/metadata.ts';
import { removeOurs, removeTree, type Scope, type TreeRemoval } from '../directory/discard.ts';
import { metadataAttribute } from '../directory/places.ts';

/** Destroys the subvolume with the data of an entry, or what stands in its place. */
export function destroyData(entry: number, scope: Scope): void {
  if (!statusIfAny(entry, 'data')) return;
  try {
    destroySubvolume(entry, 'data');
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'EINVAL', 'ENOTDIR')) throw error;
    if (scope === 'whatever') destroyForeign(entry);
  }
}

/** What lies in the place of the data is a plain directory, which a copy with other tools has there; or it has subvolumes in it. */
function destroyForeign(entry: number): void {
  const metadata = readAttribute(entry, metadataAttribute);
  const type = metadata && decodeMetadata(metadata)?.type;
  if (type === 'volume' || type === 'snapshot') removeOurs(() => removeTree(entry, 'data', withSubvolumes));
}

const withSubvolumes: TreeRemoval = {
  removeFile: removeFileAt,
  removeSpecial(parent, name, directory) {
    if (statusAt(directory, '').inode !== firstInode) return false;
    removeNested(directory, subvolumeInfo(directory).id);
    destroySubvolume(parent, name);
    return true;
  },
};

/** By their ids, so that no path has to be gone. */
function removeNested(fd: number, id: bigint): void {
  for (const nested of nestedSubvolumes(fd, id)) {
    removeNested(fd, nested.id);
    destroySubvolumeById(fd, nested.id);
  }
}
