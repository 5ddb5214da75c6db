import { runningTransaction } from '../../linux/btrfs.ts';

/** Milliseconds for which it waits for the commit of somebody else, at most. */
const longestPause = 20;

/**
 * For who destroys many and commits nothing meanwhile: while others commit, a call waits until somebody has. Every commit waits for
 * what changes the file system at that moment, and writes out what was changed since the last: a removal of thousands, whose
 * metadata lies all over the trees, made every single durable clone beside it take several times as long. Who is alone is not
 * slowed down.
 * @param root the open root directory of the pool
 */
export function givingWay(root: number): () => void {
  let last: bigint | undefined;
  let othersCommit = false;
  return () => {
    const now = runningTransaction(root);
    othersCommit ||= last !== undefined && last !== now;
    last = othersCommit ? afterNextCommit(root, now) : now;
    othersCommit = last !== now;
  };
}

/** Returns the number of the transaction that runs then. */
function afterNextCommit(root: number, before: bigint): bigint {
  let now = before;
  for (let waited = 0; waited < longestPause && now === before; waited++) {
    nap(1);
    now = runningTransaction(root);
  }
  return now;
}

function nap(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
