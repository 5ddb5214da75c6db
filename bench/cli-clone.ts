import { join } from 'node:path';
import { runProgram } from '../src/linux/programs.ts';
import { compare, type Measured, measured, time } from './support/measure.ts';
import { benchPool, makeImage } from './support/pool.ts';

const runs = 5;
const rounds = 15;

/** A whole `coppice clone` process, durable, against a process of the same Node that does nothing. */
export async function cliClone(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  const cli = join(import.meta.dirname, '..', 'dist', 'cli.js');
  const times = await compare(
    rounds,
    (round) => timeOfOne('"$1" "$2" --pool "$3" clone template "$4-$i"', [cli, bench.path, `clone-${round}`]),
    () => timeOfOne('"$1" -e 0', []),
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

/** Milliseconds of one process: several are run from a shell, which starts them faster than this process could. */
async function timeOfOne(command: string, args: readonly string[]): Promise<number> {
  const script = `for i in $(seq ${runs}); do ${command} >/dev/null || exit 1; done`;
  return (await time(() => runProgram('sh', ['-c', script, 'sh', process.execPath, ...args]))) / runs;
}
