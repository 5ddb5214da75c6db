import type { Pool } from '../../src/index.ts';

/** Calls a method of a pool by its name. */
export function perform(
  pool: Pool,
  [method, ...args]: readonly [method: string, ...args: unknown[]],
): Promise<unknown> {
  const methods = pool as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>;
  const call = methods[method];
  if (!call) throw new Error(`A pool has no method ${method}.`);
  return call.apply(pool, args);
}
