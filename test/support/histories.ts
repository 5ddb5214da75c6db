import { canonical, explain, type ModelState, matches, type Operation, type Outcome } from './model.ts';

export interface Event {
  readonly operation: Operation;
  /** Absent when nobody was told, because the process died in the operation: it was done or not. */
  readonly outcome?: Outcome | undefined;
  /** Nanoseconds of the clock that all processes share. */
  readonly started: bigint;
  /** Of the operation, or of its process. */
  readonly ended: bigint;
}

/**
 * Looks for an order of all events, one at a time, that explains every outcome and the final state. The events of one process
 * stay in their order, and what ended before another began comes before it. Returns undefined when there is one, else how far
 * the best attempt came.
 */
export function findContradiction(
  histories: readonly (readonly Event[])[],
  initial: ModelState,
  final: ModelState,
): string | undefined {
  const seen = new Set<string>();
  let best = { length: -1, text: '' };
  const pending = [{ at: histories.map(() => 0), state: initial }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { at, state } = next;
    const key = `${at.join()} ${canonical(state)}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const fronts = histories.map((history, index) => history[at[index] ?? 0]);
    const length = at.reduce((sum, each) => sum + each, 0);
    if (fronts.every((front) => front === undefined)) {
      if (matches(state, final)) return undefined;
      best = { length, text: `at the end the model has ${canonical(state)}, the pool ${canonical(final)}` };
      continue;
    }
    const firstEnd = fronts.reduce<bigint | undefined>(
      (least, front) => (front && (least === undefined || front.ended < least) ? front.ended : least),
      undefined,
    );
    for (const [index, front] of fronts.entries()) {
      if (!front || (firstEnd !== undefined && front.started > firstEnd)) continue;
      for (const after of explain(state, front.operation, front.outcome))
        pending.push({ at: at.with(index, (at[index] ?? 0) + 1), state: after });
    }
    if (length > best.length) {
      best = {
        length,
        text: `stuck after ${length} events in ${canonical(state)} before ${fronts.map((front) => front && JSON.stringify({ ...front.operation, ...front.outcome })).join(' | ')}`,
      };
    }
  }
  return best.text;
}
