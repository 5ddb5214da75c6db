import { CoppiceError, type Pool } from '../../src/index.ts';
import { play } from '../support/actors.ts';
import { writeBlock } from '../support/guest.ts';
import type { ModelState } from '../support/model.ts';
import { fillUp } from './ballast.ts';
import { makeCast } from './cast.ts';
import { expectExplained, expectHealthy, settledState } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { expectSpaceBack, usedBytes } from './space.ts';
import { makeWorld } from './world.ts';

const MiB = 2 ** 20;

/**
 * A pool without room for data, and then hardly any for names: everything either works or says that there is no space, removing
 * works, and the space comes back.
 */
export const fullPool: Scene = {
  name: 'full-pool',
  async play(stage: Stage) {
    const { random, driver, evidence } = stage;
    const world = stage.owned.use(await makeWorld(driver, 'btrfs', { bytes: 512 * MiB }));
    evidence.image = world.file;
    const before = usedBytes(world.path);
    await world.using(async (pool) => {
      await pool.create('ballast', { bytes: 4096 });
      await pool.create('filler', { bytes: MiB });
      await writeBlock(pool, 'filler', 3, 7);
      fillUp(await pool.diskPath('ballast'), between(random, 0, 4) * MiB);
      stage.count('fillers', await fillWithClones(pool));
      // Sometimes there is room for a few.
      for (let index = 1; index <= between(random, 0, 8); index++)
        await pool.remove(`filler-${index}`, { ifExists: true });
    });
    const cast = makeCast(random, between(random, 15, 30));
    evidence.plan = cast;
    const { histories, deaths } = await play(cast, world.path, world.scratch);
    evidence.histories = histories;
    const events = histories.flat();
    stage.count('operations', events.length);
    stage.count('kills', deaths);
    stage.count(
      'refused for want of space',
      events.filter(({ outcome }) => outcome && 'failed' in outcome && outcome.failed === 'no_space').length,
    );
    await world.using(async (pool) => {
      await pool.remove('ballast');
      const fillers = (await pool.list()).map(({ name }) => name).filter((name) => name.startsWith('filler'));
      for (let from = 0; from < fillers.length; from += 100)
        await pool.remove(fillers.slice(from, from + 100));
    });
    expectExplained(histories, {}, await settledState(world.path));
    await expectHealthy(world.path);
    await world.using(async (pool) => {
      const names = (await pool.list()).map(({ name }) => name);
      await pool.remove(names, { withSnapshots: true });
    });
    const empty: ModelState = await settledState(world.path);
    expectExplained([], {}, empty);
    await expectSpaceBack(driver, world.path, before);
  },
};

async function fillWithClones(pool: Pool): Promise<number> {
  for (let made = 0; ; made++) {
    if (made === 5000) return made;
    try {
      await pool.clone('filler', `filler-${made + 1}`, { durability: 'deferred' });
    } catch (error) {
      if (error instanceof CoppiceError && error.code === 'no_space') return made;
      throw error;
    }
  }
}
