import type { Held } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Context } from '../context.ts';
import { announceWork } from '../disk-work.ts';
import { findWork } from '../holding.ts';
import { holdPool } from '../pool-lock.ts';
import { abandon } from '../publish.ts';

/** What is done by schedule; each by one process at a time, and one does not keep the other waiting. */
export type RunKind = 'policy' | 'verify';

const day = 24 * 3600 * 1000;

/**
 * One process applies the policies of a pool at a time: a timer, a daemon and a person may all come at once. An entry that is locked as
 * long as its maker lives says that somebody does. Undefined: somebody does.
 * @throws CoppiceError busy when somebody begins something else at this moment
 */
export function beginRun(context: Context, kind: RunKind = 'policy'): Disposable | undefined {
  // What no volume can be called.
  const name = `${kind} run`;
  using _lock = holdPool(context, 'exclusive');
  if (findWork(context, name)) return undefined;
  const entry = announceWork(context, kind, name);
  return {
    [Symbol.dispose]() {
      abandon(context, entry);
      entry[Symbol.dispose]();
    },
  };
}

/** Milliseconds since 1970 at which policies were applied. */
export function runsOf(context: Context): number[] {
  const metadata = context.driver.peek({ area: 'pool' });
  const runs = metadata?.type === 'pool' ? (metadata.policyRuns ?? []) : [];
  return runs.map((run) => Date.parse(run)).filter(Number.isFinite);
}

/** Remembers the time as one at which policies were applied: the last, and one that is a day older. A time to come was none. */
export function rememberRun(context: Context, now: number): void {
  const [last] = runsOf(context).toSorted((a, b) => b - a);
  if (last !== undefined && last <= now && last > now - day) return;
  using pool = momentOf(context);
  const metadata = pool && context.driver.read(pool);
  if (!pool || metadata?.type !== 'pool') return;
  const before = runsOf(context).filter((run) => run <= now);
  const runs = [now, ...before.toSorted((a, b) => b - a)].slice(0, 2);
  context.driver.write(pool, { ...metadata, policyRuns: runs.map((run) => new Date(run).toISOString()) });
}

/** Undefined: somebody has it, so this is left to another time. */
function momentOf(context: Context): Held | undefined {
  try {
    return holdPool(context, 'exclusive');
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'busy') return undefined;
    throw error;
  }
}
