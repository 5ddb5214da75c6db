import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { countDeletedSubvolumes } from '../src/linux/btrfs.ts';
import { Descriptor } from '../src/linux/files.ts';
import { type Measured, measured, median, time } from './support/measure.ts';
import { type BenchPool, benchPool, makeImage } from './support/pool.ts';

const few = 10;
const many = 20_000;
const doomed = 2000;
const rounds = 6;
const clonesInRound = 60;
const removals = 3;

/** Clones that are measured beside one removal, at most: deferred ones are made faster than the kernel frees. */
const mostBeside = 10_000;

/**
 * A clone in a pool of 20,000 volumes against one in a pool of 10, one after the other, by the library in worker threads: durable and
 * deferred, with nothing else going on in the pool, and while another process deletes 2,000 volumes, until the kernel has freed them. The
 * pool of 10 is made anew for each round, or it would not be one for long, and nothing is ever deleted there.
 */
export async function scaleClone(): Promise<Measured[]> {
  await using large = await poolOf(many);
  for (const durability of durabilities)
    for (let index = 0; index < removals; index++)
      await large.pool.cloneMany('template', doomedName(durability, index), doomed, {
        durability: 'deferred',
      });
  await large.pool.sync();

  const results: Measured[] = [];
  for (const durability of durabilities) {
    results.push(...rows(`scale-clone, ${durability}`, await inBoth(large, durability)));
    const beside = await whileDeleting(large, durability);
    results.push(...rows(`scale-clone, ${durability}, deleting ${doomed.toLocaleString('en')}`, beside));
  }
  return results;
}

async function whileDeleting(large: BenchPool, durability: Durability): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let index = 0; index < removals; index++) {
    await using small = await poolOf(few);
    const alone: number[] = [];
    for (let clone = 0; clone < clonesInRound; clone++)
      alone.push(await cloneTime(small, `alone-${clone}`, durability));
    pairs.push({
      large: await whileRemoving(large, doomedName(durability, index), durability),
      small: alone,
    });
  }
  return pairs;
}

function doomedName(durability: Durability, index: number): string {
  return `doomed-${durability}-${index}`;
}

const durabilities = ['durable', 'deferred'] as const;

type Durability = (typeof durabilities)[number];

/** The milliseconds of clones in the large pool and in a small one. */
interface Pair {
  readonly large: readonly number[];
  readonly small: readonly number[];
}

async function poolOf(volumes: number): Promise<BenchPool> {
  const bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await bench.pool.cloneMany('template', 'vm', volumes - 1);
  return bench;
}

/** Clones in the one and in the other in turns, so that what else the machine does hits both alike. */
async function inBoth(large: BenchPool, durability: Durability): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round < rounds; round++) {
    await using small = await poolOf(few);
    const pair = { large: [] as number[], small: [] as number[] };
    for (let index = 0; index < clonesInRound; index++) {
      const name = `${durability}-${round}-${index}`;
      pair.large.push(await cloneTime(large, name, durability));
      pair.small.push(await cloneTime(small, name, durability));
    }
    pairs.push(pair);
  }
  return pairs;
}

function cloneTime({ pool }: BenchPool, name: string, durability: Durability): Promise<number> {
  return time(() => pool.clone('template', name, { durability }));
}

/** Clones, one after the other, while another process removes volumes and until the kernel has freed what they were. */
async function whileRemoving(bench: BenchPool, prefix: string, durability: Durability): Promise<number[]> {
  const script = join(import.meta.dirname, 'support', 'remove-many.ts');
  const args = [script, bench.path, prefix, String(doomed)];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  await once(child.stdout, 'data');
  child.stdin.write('go\n');
  using root = new Descriptor(openSync(bench.path, 'r'));
  const times: number[] = [];
  while (child.exitCode === null || (countDeletedSubvolumes(root.fd) && times.length < mostBeside))
    times.push(await cloneTime(bench, `${prefix}-while-${times.length}`, durability));
  await ended;
  if (child.exitCode !== 0) throw new Error(`${script} failed.`);
  return times;
}

/** The ratios of the medians, one a round; that of the 99th percentiles of all together; and those times. */
function rows(name: string, pairs: readonly Pair[]): Measured[] {
  const [large, small] = [pairs.flatMap((pair) => pair.large), pairs.flatMap((pair) => pair.small)];
  const medians = pairs.map((pair) => median(pair.large) / median(pair.small));
  return [
    measured(name, 'of the time among 10', medians, { atMost: 1.5 }),
    measured(`${name}, p99`, 'of the p99 among 10', [p99(large) / p99(small)], { atMost: 3 }),
    measured(`${name}, among 20,000`, 'ms', large),
    measured(`${name}, among 20,000, p99`, 'ms', [p99(large)]),
    measured(`${name}, among 10`, 'ms', small),
    measured(`${name}, among 10, p99`, 'ms', [p99(small)]),
  ];
}

function p99(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length * 0.99)] ?? Number.NaN;
}
