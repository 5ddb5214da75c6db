import type { Held } from '../drivers/driver.ts';
import { statusAt } from '../linux/file-status.ts';
import { standsInTheWay } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import { finishRemoval } from './bury.ts';
import type { Context } from './context.ts';
import { settleGroup } from './groups.ts';
import { recoverRollback } from './recover-rollback.ts';

/**
 * Cleans up after processes that died: unfinished entries are destroyed, interrupted rollbacks and groups finished, deleted data freed. An
 * entry whose lock somebody has is a living process's work and is left alone; so is anything that turns out to be a user's data.
 *
 * What is staged, only for the owner of the pool: it says what is to be done with it, and root would do that with the rights of root.
 * @returns how many entries were settled
 */
export function sweep(context: Context): number {
  const isOurs = statusAt(context.root, '').uid === process.geteuid?.();
  let settled = 0;
  for (const id of isOurs ? context.driver.listEntries('staging') : []) {
    settled += settle(context, { area: 'staging', id }, (held) => {
      const metadata = context.driver.read(held);
      if (metadata?.type === 'rollback') return recoverRollback(context, held, metadata);
      // Its members are published, and will not be there for anybody. A removal that is staged was not committed.
      if (metadata?.type === 'group' && metadata.action === 'snapshot') return settleGroup(context, held, id);
      context.driver.discard(held);
      return true;
    });
  }
  for (const id of context.driver.listEntries('tombstones')) {
    settled += settle(context, { area: 'tombstones', id }, (held) => {
      const metadata = context.driver.read(held);
      if (metadata?.type === 'group' && metadata.action === 'remove') return settleGroup(context, held, id);
      return finishRemoval(context, held);
    });
  }
  return settled;
}

function settle(
  context: Context,
  place: Parameters<Context['driver']['hold']>[0],
  clear: (held: Held) => boolean,
): number {
  try {
    const held = context.driver.hold(place, 'exclusive', false);
    if (typeof held === 'string') return 0;
    using entry = held;
    return clear(entry) ? 1 : 0;
  } catch (error) {
    // Opening a pool must work for those who may only read it, when it is full, and when one entry can't be read: what is left
    // over can wait, and `pool check` reports it.
    if (hasErrno(error, 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'EIO')) return 0;
    // Links and mounts that somebody has planted are not followed, and not ours to remove.
    if (standsInTheWay(error)) return 0;
    // Nor is what somebody has put in the place of data that a rollback replaced. What a living process has, or has open, can wait.
    if (error instanceof CoppiceError && ['damaged', 'busy', 'blocked'].includes(error.code)) return 0;
    throw error;
  }
}
