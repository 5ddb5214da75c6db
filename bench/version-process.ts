import { join } from 'node:path';
import { compare, type Measured, measured } from './support/measure.ts';
import { timeOfProcess } from './support/process.ts';

const rounds = 30;

/** `coppice --version` as a process, which every script and monitor runs, against a process of the same Node that does nothing. */
export async function versionProcess(): Promise<Measured[]> {
  const cli = join(import.meta.dirname, '..', 'dist', 'cli.js');
  const times = await compare(
    rounds,
    () => timeOfProcess('"$1" "$2" --version', [cli]),
    () => timeOfProcess('"$1" -e 0', []),
  );
  return [
    measured(
      'version-process',
      'times node -e 0',
      times.map(({ a, b }) => a / b),
      { atMost: 1.6 },
    ),
    measured(
      'version-process, coppice --version',
      'ms',
      times.map(({ a }) => a),
    ),
    measured(
      'version-process, node -e 0',
      'ms',
      times.map(({ b }) => b),
    ),
  ];
}
