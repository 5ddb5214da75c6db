import type { Held } from '../drivers/driver.ts';
import type { LockMode } from '../linux/locks.ts';
import type { Context } from './context.ts';
import { busy } from './failures.ts';

/**
 * The lock of the whole pool, for moments: what must not begin twice takes it exclusively. Whoever has it waits for nothing else.
 * @throws CoppiceError busy
 */
export function holdPool(context: Context, mode: LockMode): Held {
  const pool = context.driver.hold({ area: 'pool' }, mode, context.wait);
  if (typeof pool === 'string') throw busy('the pool');
  return pool;
}
