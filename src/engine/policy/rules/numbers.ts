import { type Period, periodAt, periodNumber, periods } from './calendar.ts';
import type { Policy } from './policy.ts';
import type { Ordered } from './situation.ts';

/** What a snapshot is kept as. */
export interface Kept {
  readonly as: 'last' | Period;
  /** For people: `daily 2026-11-21`. */
  readonly text: string;
}

/**
 * What the numbers of a policy keep, by name. From the newest in the storage's order to the oldest: the newest of each period is
 * kept, until there are as many as wanted. A period is a row of neighbours with the same date, and not a date: a clock that is wrong
 * for a while makes new periods of what is taken then, and takes nothing out of the others. That the newest of a period stands for
 * it makes this stable: to remove the others changes nothing about those that are kept.
 * @param newestFirst those that the policy has made
 */
export function keptByNumber(policy: Policy, newestFirst: readonly Ordered[]): Map<string, Kept[]> {
  const kept = new Map<string, Kept[]>();
  const keep = ({ name }: Ordered, as: Kept['as'], text: string): void => {
    const others = kept.get(name);
    if (others) others.push({ as, text });
    else kept.set(name, [{ as, text }]);
  };
  for (const snapshot of newestFirst.slice(0, policy.last))
    keep(snapshot, 'last', `one of the last ${policy.last}`);
  for (const period of periods) {
    let left = policy.keep[period];
    if (left === 0) continue;
    let before: number | undefined;
    for (const snapshot of newestFirst) {
      const own = periodNumber(period, snapshot.created);
      if (own === before) continue;
      if (left-- <= 0) break;
      before = own;
      keep(snapshot, period, `${period} ${periodAt(period, snapshot.created)}`);
    }
  }
  return kept;
}

/** How much it matters that something is kept as this: the longer the period, the more. From -1. */
export function importanceOf(kept: readonly Kept[]): number {
  return Math.max(-1, ...kept.map(({ as }) => (as === 'last' ? -1 : periods.indexOf(as))));
}
