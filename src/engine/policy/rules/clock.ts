import type { Ordered } from './situation.ts';

/**
 * What time it is, for what removes by age. A clock may be wrong: at 1970 after a start without a battery, years ahead in a machine
 * that was restored, right again an hour later. What was removed meanwhile is gone. So no clock is believed alone: each snapshot
 * and each application of policies is a witness of the time at which it was, and it is never later than a day after a witness. Where
 * a clock jumps ahead, what it says is believed a day later, when witnesses of the new time are a day old; where it jumps back, all
 * become younger, and nothing goes. The numbers of a policy need no clock: they go by the storage's own order.
 */

const hour = 3600 * 1000;
const day = 24 * hour;

/** The time that is believed; undefined where nobody witnesses any. */
export function believedTime(now: number, witnesses: Iterable<number>): number | undefined {
  let newest: number | undefined;
  for (const witness of witnesses)
    if (witness <= now - day && (newest === undefined || witness > newest)) newest = witness;
  return newest === undefined ? undefined : Math.min(now, newest + day);
}

/**
 * Those whose time fits their place in the storage's order: no later one says that it was earlier, but for the small steps that
 * clocks are set by. The state that a rollback kept has the time of its beginning, and another process may have kept it much later.
 * @param ordered the oldest first
 */
export function witnessesIn(ordered: readonly Ordered[]): Ordered[] {
  const witnesses: Ordered[] = [];
  let earliestLater = Number.POSITIVE_INFINITY;
  for (const snapshot of ordered.toReversed()) {
    if (snapshot.reason === 'rollback' || snapshot.isPlanned) continue;
    if (snapshot.created <= earliestLater + hour) witnesses.push(snapshot);
    earliestLater = Math.min(earliestLater, snapshot.created);
  }
  return witnesses.reverse();
}

/**
 * When each was taken at the earliest, by name: what it says itself, or what one says that was there before it, if that is later. What says
 * that it comes from the future says nothing. Those of which nothing is known are not in it.
 * @param ordered the oldest first
 */
export function timesOf(ordered: readonly Ordered[], now: number): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  let latest = Number.NEGATIVE_INFINITY;
  for (const { name, created } of ordered) {
    if (created <= now) latest = Math.max(latest, created);
    if (latest > Number.NEGATIVE_INFINITY) times.set(name, latest);
  }
  return times;
}
