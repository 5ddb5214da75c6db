import { rmSync } from 'node:fs';
import { play } from '../support/actors.ts';
import { makeCast, operationsOf } from './cast.ts';
import { expectExplained, expectHealthy, settledState, untilImage } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { type Image, makeWorld } from './world.ts';

/** The same, and at some moments an image of the disk is taken, as a power cut would leave it. */
export const powerCuts: Scene = {
  name: 'power-cuts',
  async play(stage: Stage) {
    const { random, evidence } = stage;
    const world = stage.owned.use(await makeWorld(stage.driver, random() < 0.5 ? 'btrfs' : 'xfs'));
    evidence.image = world.file;
    const cast = makeCast(random, between(random, 25, 50));
    const total = operationsOf(cast);
    const moments = Array.from({ length: 8 }, () => between(random, 1, total - 1));
    evidence.plan = { cast, moments };
    const images: Image[] = [];
    let ended = 0;
    const heard = (): void => {
      ended++;
      for (const moment of moments) if (moment === ended) images.push(world.takeImage());
    };
    const { histories, deaths } = await play(cast, world.path, world.scratch, heard);
    evidence.histories = histories;
    stage.count('operations', histories.flat().length);
    stage.count('kills', deaths);
    expectExplained(histories, {}, await settledState(world.path));
    await expectHealthy(world.path);
    for (const image of images) {
      const events = untilImage(histories, image);
      evidence.histories = events;
      evidence.image = image.file;
      await world.showing(image, async () => expectExplained(events, {}, await settledState(world.path)));
      rmSync(image.file);
      stage.count('images');
    }
  },
};
