import { join } from 'node:path';
import { compare, type Measured, measured } from './support/measure.ts';
import { benchPool, makeImage } from './support/pool.ts';
import { timeOfProcess } from './support/process.ts';

const rounds = 15;

/** A whole `coppice clone` process, durable, against a process of the same Node that does nothing. */
export async function cliClone(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  const cli = join(import.meta.dirname, '..', 'dist', 'cli.js');
  const times = await compare(
    rounds,
    (round) =>
      timeOfProcess('"$1" "$2" --pool "$3" clone template "$4-$i"', [cli, bench.path, `clone-${round}`]),
    () => timeOfProcess('"$1" -e 0', []),
  );
  return [
    measured(
      'cli-clone',
      'times node -e 0',
      times.map(({ a, b }) => a / b),
      { atMost: 3 },
    ),
    measured(
      'cli-clone, coppice clone',
      'ms',
      times.map(({ a }) => a),
    ),
    measured(
      'cli-clone, node -e 0',
      'ms',
      times.map(({ b }) => b),
    ),
  ];
}
