import { runningTransaction } from '../../linux/btrfs.ts';
import type { Payload } from '../directory/payload.ts';

/** Milliseconds for which it waits for the commit of somebody else, at most. */
const longestPause = 20;

/**
 * Destroys many one at a time while others commit, and waits after each until somebody has. Every commit waits for what changes
 * the file system at that moment, and writes out what was changed since the last: a removal of thousands, whose metadata lies all
 * over the trees, made every single durable clone beside it take several times as long. Who is alone is not slowed down.
 */
export function paced(destroy: Payload['destroy']): Payload['destroy'] {
  let last: bigint | undefined;
  let othersCommit = false;
  return (entry, scope) => {
    destroy(entry, scope);
    const now = runningTransaction(entry);
    othersCommit ||= last !== undefined && last !== now;
    last = othersCommit ? afterNextCommit(entry, now) : now;
    othersCommit = last !== now;
  };
}

/** Returns the number of the transaction that runs then. */
function afterNextCommit(fd: number, before: bigint): bigint {
  let now = before;
  for (let waited = 0; waited < longestPause && now === before; waited++) {
    nap(1);
    now = runningTransaction(fd);
  }
  return now;
}

function nap(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
