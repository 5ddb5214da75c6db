import { closeSync, constants, openSync } from 'node:fs';
import { openBtrfs } from '../src/drivers/btrfs/index.ts';
import type { Driver, Held } from '../src/drivers/driver.ts';
import { randomId } from '../src/linux/random.ts';
import type { Name } from '../src/model/names.ts';
import { compare, type Measured, measured, median } from './support/measure.ts';
import { benchPool, GiB, makeImage } from './support/pool.ts';

const extentCounts = [1, 10, 30, 60, 100, 150, 200, 300, 500, 1000];
const rounds = 7;
const clonesInRound = 10;

type Method = 'reflink' | 'snapshot';

/**
 * From how many extents on a clone by subvolume snapshot is faster than one by reflink, for clones that are made durable one by one
 * and for those that are not: the measurement behind `manyExtents` in src/drivers/btrfs/payload.ts.
 */
export async function crossover(): Promise<Measured[]> {
  await using bench = await benchPool();
  const root = openSync(bench.path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    using driver = openBtrfs(root, bench.path);
    const results: Measured[] = [];
    const ratios = { deferred: new Map<number, number>(), durable: new Map<number, number>() };
    for (const extents of extentCounts) {
      const template = `template-${extents}`;
      await bench.pool.import(template, makeImage(bench.aside, extents));
      using source = hold(driver, template);
      for (const durability of ['deferred', 'durable'] as const) {
        const times = await compare(
          rounds,
          () => cloneTime(driver, source, 'reflink', durability),
          () => cloneTime(driver, source, 'snapshot', durability),
        );
        const name = `crossover, ${durability}, ${extents.toLocaleString('en')} extents`;
        const result = measured(
          name,
          'reflink / snapshot',
          times.map(({ a, b }) => a / b),
        );
        ratios[durability].set(extents, result.value);
        results.push(result);
      }
    }
    for (const durability of ['deferred', 'durable'] as const) {
      results.push(measured(`crossover, ${durability}`, 'extents', [crossing(ratios[durability])]));
    }
    return results;
  } finally {
    closeSync(root);
  }
}

/** Milliseconds of one clone, the median of a few. */
function cloneTime(driver: Driver, source: Held, method: Method, durability: 'deferred' | 'durable'): number {
  const times: number[] = [];
  driver.commit();
  for (let index = 0; index < clonesInRound; index++) {
    const begin = performance.now();
    const identity = randomId();
    using staged = driver.stage();
    driver.clone(source, staged, {
      bytes: 2 * GiB,
      identity,
      replicable: method === 'snapshot',
      knownExtents: 0,
    });
    driver.move(staged, { area: 'volumes', name: `clone-${identity}` as Name });
    if (durability === 'durable') driver.commit();
    times.push(performance.now() - begin);
  }
  return median(times);
}

function hold(driver: Driver, name: string): Held {
  const held = driver.hold({ area: 'volumes', name: name as Name }, 'shared', true);
  if (typeof held === 'string') throw new Error(`${name} is ${held}.`);
  return held;
}

/** Where the ratio passes 1, on a straight line between the counts on both sides. */
function crossing(ratios: ReadonlyMap<number, number>): number {
  const points = [...ratios];
  const above = points.findIndex(([, ratio]) => ratio > 1);
  const [high, low] = [points[above], points[above - 1]];
  if (!high) return Number.POSITIVE_INFINITY;
  if (!low) return high[0];
  return Math.round(low[0] + ((1 - low[1]) / (high[1] - low[1])) * (high[0] - low[0]));
}
