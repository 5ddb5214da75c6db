import { play } from '../support/actors.ts';
import type { ModelState } from '../support/model.ts';
import { makeCast } from './cast.ts';
import { expectExplained, expectHealthy, settledState } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { makeWorld } from './world.ts';

/** Daemonless processes work on one pool and are killed at any system call; guests write to their disks meanwhile. */
export const killedProcesses: Scene = {
  name: 'killed-processes',
  async play(stage: Stage) {
    const { random, evidence } = stage;
    const world = stage.owned.use(await makeWorld(stage.driver, 'btrfs'));
    evidence.image = world.file;
    let state: ModelState = {};
    for (let act = 0; act < 3; act++) {
      const cast = makeCast(random, between(random, 20, 50));
      evidence.plan = cast;
      const { histories, deaths } = await play(cast, world.path, world.scratch);
      evidence.histories = histories;
      stage.count('operations', histories.flat().length);
      stage.count('kills', deaths);
      const after = await settledState(world.path);
      expectExplained(histories, state, after);
      state = after;
    }
    await expectHealthy(world.path);
  },
};
