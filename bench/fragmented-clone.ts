import { openSync } from 'node:fs';
import { join } from 'node:path';
import { countExtents } from '../src/linux/extents.ts';
import { Descriptor } from '../src/linux/files.ts';
import { runProgram } from '../src/linux/programs.ts';
import { compare, type Measured, measured, median, time } from './support/measure.ts';
import { type BenchPool, benchPool, freed, makeImage } from './support/pool.ts';

const extents = 100_000;
const rounds = 9;
const clonesInRound = 5;

/** A durable clone of an image in 100,000 pieces, against one of an image in one piece: fragmentation must hardly matter. */
export async function fragmentedClone(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('contiguous', makeImage(bench.aside, 1));
  await bench.pool.import('fragmented', makeImage(bench.aside, extents));
  await requireExtents(bench);
  await freed(bench);
  const times = await compare(
    rounds,
    (round) => cloneTime(bench, 'fragmented', round),
    (round) => cloneTime(bench, 'contiguous', round),
  );
  const source = await bench.pool.diskPath('fragmented');
  const copies = await copyTimes(source, bench.aside);
  const contiguous = median(times.map(({ b }) => b));
  const ratios = times.map(({ a, b }) => a / b);
  return [
    measured('fragmented-clone', 'of a contiguous one', ratios, { atMost: 3 }),
    measured(
      'fragmented-clone, cp --reflink',
      'of a contiguous one',
      copies.map((copy) => copy / contiguous),
    ),
    measured(
      'fragmented-clone, 100,000 extents',
      'ms',
      times.map(({ a }) => a),
    ),
    measured(
      'fragmented-clone, 1 extent',
      'ms',
      times.map(({ b }) => b),
    ),
  ];
}

/** The median of a few clones, one after the other, in milliseconds. */
async function cloneTime({ pool }: BenchPool, template: string, round: number): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < clonesInRound; index++) {
    times.push(await time(() => pool.clone(template, `${template}-${round}-${index}`)));
  }
  return median(times);
}

async function copyTimes(source: string, directory: string): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < 3; index++) {
    times.push(
      await time(() =>
        runProgram('cp', ['--reflink=always', '--', source, join(directory, `copy-${index}`)]),
      ),
    );
  }
  return times;
}

async function requireExtents({ pool }: BenchPool): Promise<void> {
  using disk = new Descriptor(openSync(await pool.diskPath('fragmented'), 'r'));
  const found = countExtents(disk.fd);
  if (found < extents) throw new Error(`The image should have ${extents} extents, but has ${found}.`);
}
