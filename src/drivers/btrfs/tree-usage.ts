import { commitTransaction, subvolumeInfo } from '../../linux/btrfs.ts';
import { readTreeExtents, refersOnly } from '../../linux/btrfs-tree-extents.ts';
import { openDirectoryAt } from '../../linux/files.ts';
import { call, hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { treeName } from '../directory/places.ts';
import type { PayloadUsage } from '../driver.ts';

/**
 * What a directory tree takes, from the items of its subvolume: each extent once, as a whole, because btrfs frees it when nobody refers
 * to any block of it any more. `exact` asks for each who refers to it: what only this tree does, from however many of its files, goes
 * with it.
 */
export function treeUsage(entry: number, accuracy: 'cheap' | 'exact'): PayloadUsage {
  using tree = openDirectoryAt(entry, treeName);
  try {
    if (accuracy === 'exact') {
      call('syncfs', treeName, tree.fd);
      commitTransaction(tree.fd);
    }
    const { logicalBytes, extents } = readTreeExtents(tree.fd);
    let referencedBytes = 0;
    for (const bytes of extents.values()) referencedBytes += bytes;
    if (accuracy === 'cheap') return { logicalBytes, referencedBytes };
    const { id } = subvolumeInfo(tree.fd);
    let exclusiveBytes = 0;
    for (const [address, bytes] of extents) if (refersOnly(tree.fd, address, id)) exclusiveBytes += bytes;
    return { logicalBytes, referencedBytes, exclusiveBytes };
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES')) throw error;
    throw new CoppiceError(
      'permission_denied',
      'What a directory tree takes is read from the trees of btrfs, which only root may do; run it as root.',
      { cause: error },
    );
  }
}
