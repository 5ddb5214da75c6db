import { openPool } from '../engine/open-pool.ts';
import type { Pool } from '../engine/pool.ts';
import type { PoolDescription } from '../engine/pools/describe.ts';
import { formatSize } from '../model/sizes.ts';
import { note } from './command.ts';
import type { CliContext, PoolFlags } from './context.ts';
import { poolPath } from './pool-path.ts';

export { poolPath };

/** Milliseconds: a script shall not hang for ever on a process that is stopped, and the import of a large image takes minutes. */
const lockTimeout = 600_000;

/** Opens the pool for one command, and lets go of it afterwards. The kernel is called in this thread: it has nothing else to do. */
export async function withPool<T>(
  context: CliContext,
  flags: Pick<PoolFlags, 'pool'>,
  use: (pool: Pool) => Promise<T>,
): Promise<T> {
  await using pool = await openPool(poolPath(context, flags.pool), {
    inline: true,
    lockTimeout,
    program: 'cli',
    ...auditOption(context),
  });
  return await use(pool);
}

/** Elsewhere than where it usually is, as in a test. */
export function auditOption({ process }: CliContext): { readonly auditLog?: string } {
  const auditLog = process.env['COPPICE_AUDIT_LOG'];
  return auditLog ? { auditLog } : {};
}

/** After a change: a word of warning while there is still time to do something about the space. */
export async function warnOfSpace(context: CliContext, pool: Pool): Promise<void> {
  const space = await spaceIfKnown(pool);
  if (!space) return;
  if (space.host && space.host.freeBytes < 2 * space.host.reserveBytes) {
    note(
      context,
      `coppice: warning: only ${formatSize(space.host.freeBytes)} are free on ${space.host.path}, under the pool; free space there before it turns read-only.`,
    );
  } else if (space.freeBytes < space.totalBytes * 0.05) {
    note(
      context,
      `coppice: warning: the pool has only ${formatSize(space.freeBytes)} of ${formatSize(space.totalBytes)} free.`,
    );
  }
}

/** The command has succeeded: that the pool can't be described now must not make a failure of it. */
async function spaceIfKnown(pool: Pool): Promise<PoolDescription['space'] | undefined> {
  try {
    return (await pool.describe()).space;
  } catch {
    return undefined;
  }
}
