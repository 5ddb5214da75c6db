import type { ActorPlan } from '../support/actors.ts';
import { between } from './scene.ts';

const day = 24 * 3600 * 1000;

const modes = ['inline', 'workers', 'command', 'inline'] as const;

/**
 * Two to four actors of different kinds. One that opens the pool in its own process makes some 40 calls for that and 25 for an
 * operation, so each life lasts for some operations; of the commands one in three is killed.
 */
export function makeCast(random: () => number, operations: number): ActorPlan[] {
  const first = between(random, 0, modes.length - 1);
  return Array.from({ length: between(random, 2, 4) }, (_, index) => {
    const mode = modes[(first + index) % modes.length] ?? 'inline';
    const lanes = mode === 'workers' ? 2 : 1;
    const each = Math.ceil(operations / lanes);
    const deaths =
      mode === 'command'
        ? Array.from({ length: each }, () => (random() < 0.3 ? between(random, 1, 90) : 0))
        : Array.from({ length: between(random, 0, 6) }, () => between(random, 1, 600));
    const seed = between(random, 1, 2 ** 31);
    // Sometimes each process has another clock, between 1971 and 2081.
    const clocks = random() < 0.2 ? [1, 2, 3].map(() => between(random, -20_000, 20_000) * day) : [0];
    return { seed, mode, lanes, operations: each, deaths, clocks };
  });
}

export function operationsOf(cast: readonly ActorPlan[]): number {
  return cast.reduce((sum, { lanes, operations }) => sum + lanes * operations, 0);
}
