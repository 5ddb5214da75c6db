import { removeAttribute, writeAttribute } from '../../linux/attributes.ts';
import {
  commitInKernelThread,
  commitTransaction,
  countDeletedSubvolumes,
  waitForDeletedSubvolumes,
} from '../../linux/btrfs.ts';
import { hasErrno } from '../../linux/system-calls.ts';

/**
 * Waits until what was deleted is really freed; false where the kernel can't tell. The kernel frees it in a thread that it wakes
 * every 30 s, or after a commit in its own thread; and a wake-up that comes just before it falls asleep is lost. So it is woken
 * again and again until it has done its work, or has been at it so long that it is surely awake.
 */
export function settleDeleted(root: number): boolean {
  for (let pause = 1; pause < 200; pause *= 2) {
    wakeCleaner(root);
    const left = countDeletedSubvolumes(root);
    if (left === undefined) return false;
    if (left === 0) {
      commitTransaction(root); // only then does the file system count the space as free
      return true;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
  }
  waitForDeletedSubvolumes(root);
  commitTransaction(root);
  return true;
}

/** A commit without a change does nothing, and wakes nobody. */
function wakeCleaner(root: number): void {
  const attribute = 'user.coppice.settle';
  try {
    writeAttribute(root, attribute, '1');
    removeAttribute(root, attribute);
  } catch (error) {
    if (!hasErrno(error, 'EROFS', 'EACCES', 'EPERM', 'ENOSPC', 'EDQUOT', 'ENODATA')) throw error;
  }
  commitInKernelThread(root);
}
