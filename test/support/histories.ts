import { explain, type ModelState, type Operation, type Outcome } from './model.ts';

/** The same text for equal states, whatever the order of their keys. */
function fingerprint(state: ModelState): string {
  const sorted = (value: unknown): unknown =>
    typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)]),
        )
      : value;
  return JSON.stringify(sorted(state));
}

export interface Event {
  readonly operation: Operation;
  readonly outcome: Outcome;
  /** Nanoseconds of the clock that all processes share. */
  readonly started: bigint;
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
  const goal = fingerprint(final);
  const seen = new Set<string>();
  let best = { length: -1, text: '' };
  const pending = [{ at: histories.map(() => 0), state: initial }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { at, state } = next;
    const key = `${at.join()} ${fingerprint(state)}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const fronts = histories.map((history, index) => history[at[index] ?? 0]);
    const length = at.reduce((sum, each) => sum + each, 0);
    if (fronts.every((front) => front === undefined)) {
      if (fingerprint(state) === goal) return undefined;
      best = { length, text: `at the end the model has ${fingerprint(state)}, the pool ${goal}` };
      continue;
    }
    const firstEnd = fronts.reduce<bigint | undefined>(
      (least, front) => (front && (least === undefined || front.ended < least) ? front.ended : least),
      undefined,
    );
    for (const [index, front] of fronts.entries()) {
      if (!front || (firstEnd !== undefined && front.started > firstEnd)) continue;
      const after = explain(state, front.operation, front.outcome);
      if (after) pending.push({ at: at.with(index, (at[index] ?? 0) + 1), state: after });
    }
    if (length > best.length) {
      best = {
        length,
        text: `stuck after ${length} events in ${fingerprint(state)} before ${fronts.map((front) => front && JSON.stringify({ ...front.operation, ...front.outcome })).join(' | ')}`,
      };
    }
  }
  return best.text;
}
