import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CoppiceError, type Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { play } from '../support/actors.ts';
import { fillUp } from './ballast.ts';
import { makeCast } from './cast.ts';
import { expectExplained, settledState } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { freeBytes } from './space.ts';
import { makeWorld } from './world.ts';

const [MiB, GiB] = [2 ** 20, 2 ** 30];

/** A sparse pool promises more than its host has: what would make the host full is refused before the pool breaks. */
export const fullHost: Scene = {
  name: 'full-host',
  async play(stage: Stage) {
    const { random, driver, evidence } = stage;
    const world = stage.owned.use(
      await makeWorld(driver, random() < 0.5 ? 'xfs' : 'ext4', { bytes: 8 * GiB, hostBytes: 3 * GiB }),
    );
    evidence.image = world.file;
    const first = makeCast(random, 20).map((plan) => ({ ...plan, deaths: [] }));
    const second = makeCast(random, between(random, 10, 20));
    evidence.plan = { first, second };
    const roomy = await play(first, world.path, world.scratch);
    const state = await settledState(world.path);
    expectExplained(roomy.histories, {}, state);

    const ballast = join(world.host, 'ballast');
    // Less than its reserve, which is 64 MiB here, and more than what the pool has still to write out itself.
    fillUp(ballast, 48 * MiB);
    await world.using(async (pool) => {
      await pool.sync();
      await expectRefusals(pool);
    });
    const { histories, deaths } = await play(second, world.path, world.scratch);
    evidence.histories = histories;
    stage.count('operations', histories.flat().length);
    stage.count('kills', deaths);
    for (const { operation, outcome } of histories.flat())
      if (makes.has(operation.kind) && outcome && !('failed' in outcome))
        throw new Error(`was done although the host is full: ${JSON.stringify(operation)}`);
    if (/\sro[,\s]/.test(mountLine(world.path))) throw new Error('the pool has become read-only');

    rmSync(ballast);
    // The blocks of a file that was removed are free a moment later.
    while (freeBytes(world.host) < GiB) runProgram('sync', ['-f', world.host]);
    const after = await settledState(world.path);
    expectExplained(histories, state, after);
    await world.using(async (pool) => {
      await pool.create('later', { bytes: MiB });
      const names = (await pool.list()).map(({ name }) => name);
      await pool.remove(names, { withSnapshots: true });
    });
    expectExplained([], {}, await settledState(world.path));
  },
};

const makes: ReadonlySet<string> = new Set([
  'create',
  'clone',
  'seal',
  'snapshot',
  'rollback',
  'snapshotTogether',
  'import',
]);

async function expectRefusals(pool: Pool): Promise<void> {
  const names = (await pool.list()).map(({ name }) => name);
  const attempts = [
    () => pool.create('new', { bytes: MiB }),
    ...names.map((name) => () => pool.clone(name, 'new')),
    ...names.map((name) => () => pool.seal(name, 'new')),
  ];
  for (const attempt of attempts) {
    const answer = await attempt().catch((error: unknown) => error);
    if (!(answer instanceof CoppiceError && answer.code === 'no_space'))
      throw new Error(`was not refused although the host is full: ${String(answer)}`);
  }
}

function mountLine(path: string): string {
  return (
    readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find((line) => line.split(' ')[1] === path) ?? ''
  );
}
