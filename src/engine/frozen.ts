import type { Held } from '../drivers/driver.ts';
import { randomId } from '../linux/random.ts';
import type { Context } from './context.ts';
import { abandon } from './publish.ts';

/**
 * A read-only copy of what is held, in a staged entry, which stays the same while it is read. What was written and is still in memory is
 * in it. To be abandoned when it was read.
 */
export function stageFrozen(context: Context, source: Held, action: string): Held {
  context.driver.writeOut(source);
  const copy = context.driver.stage();
  try {
    context.driver.write(copy, { type: 'work', action, volume: `${action}-${randomId()}` });
    context.driver.snapshot(source, copy);
    return copy;
  } catch (error) {
    abandon(context, copy);
    copy[Symbol.dispose]();
    throw error;
  }
}
