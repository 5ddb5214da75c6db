import { runProgram } from '../src/linux/programs.ts';
import { compare, type Measured, measured, time } from './support/measure.ts';
import { type BenchPool, benchPool, makeImage } from './support/pool.ts';

const inFlight = 32;
const clones = 640;
const copies = 16;
const rounds = 9;

/** Durable clones, 32 at once, against what a script does: `cp --reflink=always` and `sync -f`, one after the other. */
export async function parallelDurable(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await cloneMany(bench, 'warm');
  const source = await bench.pool.diskPath('template');
  const rates = await compare(
    rounds,
    async (round) => (clones / (await time(() => cloneMany(bench, `clone-${round}`)))) * 1000,
    async (round) => (copies / (await time(() => copyMany(source, `${bench.aside}/copy-${round}`)))) * 1000,
  );
  return [
    measured(
      'parallel-durable',
      'times the rate of cp + sync',
      rates.map(({ a, b }) => a / b),
      { atLeast: 10 },
    ),
    measured(
      'parallel-durable, library',
      'clones/s',
      rates.map(({ a }) => a),
    ),
    measured(
      'parallel-durable, cp + sync',
      'clones/s',
      rates.map(({ b }) => b),
    ),
  ];
}

async function cloneMany({ pool }: BenchPool, prefix: string): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < clones) await pool.clone('template', `${prefix}-${next++}`);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
}

/** In a shell, which starts processes faster than this one could. */
function copyMany(source: string, target: string): void {
  const script =
    'for i in $(seq "$3"); do cp --reflink=always -- "$1" "$2-$i" && sync -f "$2-$i" || exit 1; done';
  runProgram('sh', ['-c', script, 'sh', source, target, String(copies)]);
}
