import { runningTransaction } from '../../linux/btrfs.ts';
import type { Payload } from '../directory/payload.ts';

/** So many are destroyed in a row. */
const group = 32;
/** Milliseconds for which others then have the file system to themselves. */
const pause = 40;

/**
 * Destroys many in groups, with a pause behind each while others commit. Every commit waits for what changes the file system at that
 * moment, and writes out what was changed since the last: a removal of thousands, whose metadata lies all over the trees, made every single
 * durable clone beside it take several times as long. Who is alone is not slowed down.
 */
export function paced(destroy: Payload['destroy']): Payload['destroy'] {
  let destroyed = 0;
  let transaction: bigint | undefined;
  return (entry, scope) => {
    destroy(entry, scope);
    if (++destroyed % group > 0) return;
    const before = transaction;
    transaction = runningTransaction(entry);
    if (before !== undefined && before !== transaction) nap();
  };
}

function nap(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
}
