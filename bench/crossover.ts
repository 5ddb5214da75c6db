import { closeSync, constants, openSync } from 'node:fs';
import { btrfs } from '../src/drivers/btrfs/index.ts';
import type { Driver, Held } from '../src/drivers/driver.ts';
import { randomId } from '../src/linux/random.ts';
import type { Name } from '../src/model/names.ts';
import { compare, type Measured, measured, median } from './support/measure.ts';
import { benchPool, GiB, makeImage } from './support/pool.ts';

const extentCounts = [1, 10, 30, 60, 100, 150, 200, 300, 500, 1000];
const rounds = 7;
const clonesInRound = 10;

type Method = 'reflink' | 'snapshot';
/** Not durable yet; each durable; ten that are made durable together. */
type Durability = 'deferred' | 'durable' | 'together';
const durabilities = ['deferred', 'durable', 'together'] as const satisfies Durability[];

/**
 * From how many extents on a clone by subvolume snapshot is faster than one by reflink: the measurement behind `manyExtents` in
 * src/drivers/btrfs/payload.ts. A reflink leaves a part of its work to the next commit, so what is deferred is not saved.
 */
export async function crossover(): Promise<Measured[]> {
  await using bench = await benchPool();
  const root = openSync(bench.path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    using driver = btrfs.open(root, bench.path);
    const ratios = { deferred: [] as Point[], durable: [] as Point[], together: [] as Point[] };
    const results: Measured[] = [];
    for (const extents of extentCounts) {
      const template = `template-${extents}`;
      await bench.pool.import(template, makeImage(bench.aside, extents));
      using source = hold(driver, template);
      for (const durability of durabilities) {
        const times = await compare(
          rounds,
          () => cloneTime(driver, source, 'reflink', durability),
          () => cloneTime(driver, source, 'snapshot', durability),
        );
        const result = measured(
          `crossover, ${durability}, ${extents.toLocaleString('en')} extents`,
          'reflink / snapshot',
          times.map(({ a, b }) => a / b),
        );
        ratios[durability].push({ extents, ratio: result.value });
        results.push(result);
      }
    }
    const crossings = durabilities.map((durability) =>
      measured(`crossover, ${durability}`, 'extents', [crossing(ratios[durability])]),
    );
    return [...results, ...crossings];
  } finally {
    closeSync(root);
  }
}

/** Milliseconds of one clone. */
function cloneTime(driver: Driver, source: Held, method: Method, durability: Durability): number {
  driver.commit();
  const times: number[] = [];
  const start = performance.now();
  for (let index = 0; index < clonesInRound; index++) {
    const begin = performance.now();
    cloneOnce(driver, source, method);
    if (durability === 'durable') driver.commit();
    times.push(performance.now() - begin);
  }
  if (durability !== 'together') return median(times);
  driver.commit();
  return (performance.now() - start) / clonesInRound;
}

function cloneOnce(driver: Driver, source: Held, method: Method): void {
  const identity = randomId();
  using staged = driver.stage();
  const replicable = method === 'snapshot';
  driver.clone(source, staged, { bytes: 2 * GiB, identity, replicable, knownExtents: 0 });
  driver.move(staged, { area: 'volumes', name: `clone-${identity}` as Name });
}

function hold(driver: Driver, name: string): Held {
  const held = driver.hold({ area: 'volumes', name: name as Name }, 'shared', true);
  if (typeof held === 'string') throw new Error(`${name} is ${held}.`);
  return held;
}

interface Point {
  readonly extents: number;
  readonly ratio: number;
}

/** Where the ratio passes 1, on a straight line between the counts on both sides. */
function crossing(points: readonly Point[]): number {
  const above = points.findIndex(({ ratio }) => ratio > 1);
  const [high, low] = [points[above], points[above - 1]];
  if (!high) return Number.POSITIVE_INFINITY;
  if (!low) return high.extents;
  return Math.round(
    low.extents + ((1 - low.ratio) / (high.ratio - low.ratio)) * (high.extents - low.extents),
  );
}
