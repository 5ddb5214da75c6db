import { randomNumbers } from '../support/random-operations.ts';
import { clearDeadRuns, leaks, removeRunDirectory } from '../support/run-directory.ts';
import { keepEvidence } from './evidence.ts';
import { fullHost } from './full-host.ts';
import { fullPool } from './full-pool.ts';
import { killedProcesses } from './killed-processes.ts';
import { manyVolumes } from './many-volumes.ts';
import { type DriverName, type Options, parseOptions } from './options.ts';
import { postgres } from './postgres.ts';
import { powerCuts } from './power-cuts.ts';
import type { Scene, Stage } from './scene.ts';
import { Tally } from './tally.ts';
import { treeRollbacks } from './tree-rollbacks.ts';

/**
 * Everything at once and for long: the same seed gives the same plans, in the same rounds. Kills and power cuts are counted in
 * system calls and operations, not in time, so that a round can be played again as far as processes allow.
 */

/** One round after the other; the first of each kind come early, so that a short run has seen everything. */
const programme: readonly Scene[] = [
  powerCuts,
  killedProcesses,
  treeRollbacks,
  fullPool,
  powerCuts,
  fullHost,
  killedProcesses,
  powerCuts,
  manyVolumes,
  killedProcesses,
  fullPool,
  postgres,
];

/** The long one is not needed so often. */
const manyEvery = 5;

/** What a round depends on beside the seed and its number. */
const again = process.argv
  .slice(2)
  .map((argument) => ` ${argument}`)
  .join('')
  .replaceAll(/ --(seed|round|minutes)[ =]\S+/g, '');
const options = optionsOrEnd();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
for (const path of clearDeadRuns()) console.log(`cleared what a killed run left: ${path}`);
console.log(
  `torture: seed ${options.seed}, ${options.minutes} minutes, ${options.drivers.join(' and ')}, Node ${process.version}`,
);
process.exitCode = (await run(options)) ? 0 : 1;

function optionsOrEnd(): Options {
  try {
    return parseOptions(process.argv.slice(2), [...new Set(programme.map(({ name }) => name))]);
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

async function run({ minutes, drivers, round: only, scene: wanted, ...given }: Options): Promise<boolean> {
  const tally = new Tally();
  const progress = setInterval(() => console.log(tally.line()), 60_000);
  const end = performance.now() + minutes * 60_000;
  try {
    for (let round = only ?? 0; performance.now() < end; round++) {
      const scene = sceneOf(Math.floor(round / drivers.length), wanted);
      const driver = drivers[round % drivers.length] ?? 'btrfs';
      if (scene && !(await playRound(scene, driver, round, given, tally))) return false;
      if (only !== undefined) break;
    }
    return true;
  } finally {
    clearInterval(progress);
    removeRunDirectory();
    console.log(`\n${tally.table()}`);
  }
}

function sceneOf(turn: number, wanted: string | undefined): Scene | undefined {
  const scene = programme[turn % programme.length];
  if (wanted !== undefined) return programme.find(({ name }) => name === wanted);
  const cycle = Math.floor(turn / programme.length);
  return scene === manyVolumes && cycle % manyEvery !== 0 ? powerCuts : scene;
}

async function playRound(
  scene: Scene,
  driver: DriverName,
  round: number,
  { seed, volumes }: Pick<Options, 'seed' | 'volumes'>,
  tally: Tally,
): Promise<boolean> {
  const evidence: Stage['evidence'] = { histories: [] };
  const began = performance.now();
  const row = tally.begin(scene.name, driver, round);
  const owned = new AsyncDisposableStack();
  try {
    const random = randomNumbers(seed * 1_000_003 + round);
    const count: Stage['count'] = (what, times) => row.count(what, times);
    await scene.play({ driver, random, volumes, owned, evidence, count });
    await owned.disposeAsync();
    await expectNothingLeft();
    row.end(performance.now() - began);
    return true;
  } catch (error) {
    const directory = keepEvidence({ seed, scene: scene.name, driver, round, error, ...evidence });
    console.error(
      `\nFAILED: seed ${seed}, scene ${scene.name}, driver ${driver}, round ${round}; evidence: ${directory}`,
    );
    console.error(error);
    console.error(`again: npm run torture -- --seed ${seed} --round ${round}${again}`);
    await owned.disposeAsync().catch((failure: unknown) => console.error('while clearing up:', failure));
    return false;
  }
}

/** The kernel lets go of a loop device a moment after the unmount. */
async function expectNothingLeft(): Promise<void> {
  for (let tries = 0; tries < 500 && leaks().length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const left = leaks();
  if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
}
