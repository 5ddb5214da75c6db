import { constants } from 'node:fs';
import { isRegularFile, statusIfAny } from '../../linux/file-status.ts';
import { moveAt, openBeneath, removeFileAt } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';

/**
 * A cluster without its control file can't be started by anybody: while some of its volumes are rolled back and others are not yet,
 * it lies aside under a name that says so. Durable with the next commit.
 */
const [controlFile, aside] = ['pg_control', 'pg_control.while-rolled-back-by-coppice'];

/**
 * Keeps a server from being started on a cluster that nobody uses.
 * @param below the data directory, from the root of the tree
 * @returns false where there is no cluster to be kept from that
 */
export function putUpFence(root: string, below: string): boolean {
  return within(root, below, (directory) => {
    if (!hasFile(directory, controlFile)) return hasFile(directory, aside);
    // Somebody has left one there, which means nothing any more.
    if (hasFile(directory, aside)) removeFileAt(directory, aside);
    moveAt(directory, controlFile, directory, aside);
    return true;
  });
}

/** Lets a server be started again; what was let go already stays so. */
export function takeDownFence(root: string, below: string): void {
  within(root, below, (directory) => {
    if (!hasFile(directory, aside)) return false;
    // Where somebody has put it back by hand, that is the one that counts.
    if (hasFile(directory, controlFile)) removeFileAt(directory, aside);
    else moveAt(directory, aside, directory, controlFile);
    return true;
  });
}

export function isFenced(root: string, below: string): boolean {
  return within(root, below, (directory) => hasFile(directory, aside));
}

/** What is no file was not put there by us, and no server starts from it. */
function hasFile(directory: number, name: string): boolean {
  const status = statusIfAny(directory, name);
  return status !== undefined && isRegularFile(status);
}

/** Its owner may have put anything there: no link is followed, and what is no cluster is none. */
function within(root: string, below: string, use: (directory: number) => boolean): boolean {
  try {
    using tree = openDirectory(root);
    using directory = openBeneath(tree.fd, `${below}/global`, constants.O_RDONLY | constants.O_DIRECTORY);
    return use(directory.fd);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return false;
    // He has a directory under one of these names, or makes one just now: his cluster is out of order, and not the pool.
    if (hasErrno(error, 'EEXIST', 'EISDIR', 'ENOTEMPTY'))
      throw new CoppiceError(
        'damaged',
        `Something else stands in ${root}/${below}/global in the place of the file ${controlFile} or ${aside}; take it away.`,
        { cause: error },
      );
    throw error;
  }
}
