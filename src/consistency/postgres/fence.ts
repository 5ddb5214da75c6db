import { constants } from 'node:fs';
import { statusIfAny } from '../../linux/file-status.ts';
import { moveAt, openBeneath } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { removeEntry } from './amend.ts';

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
    if (!statusIfAny(directory, controlFile)) return statusIfAny(directory, aside) !== undefined;
    // Somebody has left one there, which means nothing any more.
    removeEntry(directory, aside);
    moveAt(directory, controlFile, directory, aside);
    return true;
  });
}

/** Lets a server be started again; what was let go already stays so. */
export function takeDownFence(root: string, below: string): void {
  within(root, below, (directory) => {
    if (!statusIfAny(directory, aside)) return false;
    // Where somebody has put it back by hand, that is the one that counts.
    if (statusIfAny(directory, controlFile)) removeEntry(directory, aside);
    else moveAt(directory, aside, directory, controlFile);
    return true;
  });
}

export function isFenced(root: string, below: string): boolean {
  return within(root, below, (directory) => statusIfAny(directory, aside) !== undefined);
}

/** Its owner may have put anything there: no link is followed, and what is no cluster is none. */
function within(root: string, below: string, use: (directory: number) => boolean): boolean {
  try {
    using tree = openDirectory(root);
    using directory = openBeneath(tree.fd, `${below}/global`, constants.O_RDONLY | constants.O_DIRECTORY);
    return use(directory.fd);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return false;
    throw error;
  }
}
