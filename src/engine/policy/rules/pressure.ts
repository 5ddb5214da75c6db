import type { Policy } from './policy.ts';
import { compare, type Decision, keyOf, type Situation } from './situation.ts';

/**
 * What may go although its policy keeps it, while the pool has less free space than its policy wants: what is kept for the shortest
 * period first, and of those the oldest. Never what stays for any other reason than the numbers.
 * @param decisions that nothing goes among
 */
export function mayYield(
  { volumes, space }: Situation,
  decisions: readonly Decision[],
): Array<Pick<Decision, 'volume' | 'name'>> {
  const generations = new Map<string, bigint>();
  for (const { name: volume, policy, snapshots } of volumes)
    for (const { name, known } of policy && isShort(policy, space) ? snapshots : [])
      if (known) generations.set(keyOf({ volume, name }), known.generation);
  return decisions
    .flatMap(({ volume, name, importance }) => {
      const generation = generations.get(keyOf({ volume, name }));
      return importance === undefined || generation === undefined
        ? []
        : [{ volume, name, importance, generation }];
    })
    .sort(
      (a, b) =>
        a.importance - b.importance || compare(a.generation, b.generation) || compare(keyOf(a), keyOf(b)),
    )
    .map(({ volume, name }) => ({ volume, name }));
}

/** Whether there is less free space than a policy wants. */
export function isShort({ minFree }: Policy, { totalBytes, freeBytes }: Situation['space']): boolean {
  if (!minFree) return false;
  return freeBytes < ('share' in minFree ? minFree.share * totalBytes : minFree.bytes);
}
