import type { Control } from '../control.ts';
import { doomedAmong, judgeNow, type Run } from './judge-now.ts';
import { type Doomed, type Pruned, prune } from './prune.ts';
import { keyOf } from './rules/situation.ts';

export interface Relieved {
  readonly doomed: readonly Doomed[];
  readonly pruned: readonly Pruned[];
  /** What would go next, if there is still too little space. */
  readonly left: readonly string[];
}

export const noRelief: Relieved = { doomed: [], pruned: [], left: [] };

/**
 * Removes what policies keep, one after the other, until there is as much free space as they want. How much one frees is not known
 * before, so each time it waits until what was removed is free. Where that can't be known, no more than one goes.
 * @param hasRemoved whether something was removed just before
 */
export async function relieve(run: Run, hasRemoved: boolean, control: Control): Promise<Relieved> {
  const { driver } = run.context;
  const doomed: Doomed[] = [];
  const pruned: Pruned[] = [];
  const tried = new Set<string>();
  for (let settles = true, isFresh = !hasRemoved; ; isFresh = false) {
    const before = judgeNow(run, driver.space());
    if (before.underPressure.length > 0 && !isFresh) settles = driver.settle();
    const judged = isFresh ? before : judgeNow(run, driver.space());
    const { underPressure, known } = judged;
    const next = underPressure.find((each) => !tried.has(keyOf(each)));
    if (!next || !settles || control.signal?.aborted)
      return { doomed, pruned, left: underPressure.map(keyOf) };
    const decision = { ...next, goes: true, reasons: ['less space is free than its policy wants'] };
    const one = doomedAmong([decision], known);
    const result = await prune(run.context, one, control);
    doomed.push(...one);
    pruned.push(result);
    tried.add(keyOf(next));
  }
}
