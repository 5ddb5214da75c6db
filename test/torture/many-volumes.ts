import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPool, type Pool } from '../../src/index.ts';
import { bytesOf, writeBlock } from '../support/guest.ts';
import { expectExplained, expectHealthy, settledState } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { expectSpaceBack, usedBytes } from './space.ts';
import { makeWorld } from './world.ts';

const MiB = 2 ** 20;

/** Very many volumes: made, listed, some removed while others are made, then all removed. */
export const manyVolumes: Scene = {
  name: 'many-volumes',
  async play(stage: Stage) {
    const { random, driver, volumes: count } = stage;
    const world = stage.owned.use(await makeWorld(driver, 'btrfs', { bytes: 20 * 1024 * MiB }));
    const timed = async <T>(what: string, run: () => Promise<T>): Promise<T> => {
      const began = performance.now();
      const result = await run();
      const seconds = (performance.now() - began) / 1000;
      console.log(`  ${driver}: ${what} took ${seconds.toFixed(1)} s`);
      return result;
    };
    const before = usedBytes(world.path);
    const some = Math.floor(count / 10);
    {
      await using pool = await openPool(world.path);
      await using other = await openPool(world.path);
      await pool.create('base', { bytes: MiB });
      await writeBlock(pool, 'base', 5, 11);
      await pool.seal('base', 'template');
      await timed(`${count} clones`, () => cloned(pool, 'many', count));
      const listed = await timed(`listing ${count + 2}`, () => pool.list());
      if (listed.length !== count + 2) throw new Error(`${listed.length} are listed of ${count + 2}`);
      await timed(`removing ${some} while ${some} are made`, () =>
        Promise.all([removed(other, namesOf('many', some)), cloned(pool, 'later', some)]),
      );
      expectNames(world.path, [
        'base',
        'template',
        ...namesOf('many', count).slice(some),
        ...namesOf('later', some),
      ]);
      const content = bytesOf({ bytes: MiB, written: { 5: 11 } });
      for (let tries = 0; tries < 200; tries++) {
        const name = `many-${between(random, some + 1, count)}`;
        const disk = readFileSync(join(world.path, 'volumes', name, 'data/disk.raw'));
        if (!disk.equals(content)) throw new Error(`${name} is not what it was cloned from`);
      }
      const rest = (await pool.list()).map(({ name }) => name);
      await timed(`removing ${rest.length}`, () => removed(pool, rest));
    }
    expectExplained([], {}, await settledState(world.path));
    await expectHealthy(world.path);
    await timed('the return of the space', () => expectSpaceBack(driver, world.path, before));
    stage.count('volumes', count + some);
  },
};

function namesOf(stem: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${stem}-${index + 1}`);
}

async function cloned(pool: Pool, name: string, count: number): Promise<void> {
  const { failed } = await pool.cloneMany('template', name, count);
  if (failed[0]) throw failed[0].error;
}

/** As many at once as there may be descriptors. */
async function removed(pool: Pool, names: readonly string[]): Promise<void> {
  for (let from = 0; from < names.length; from += 500) await pool.remove(names.slice(from, from + 500));
}

function expectNames(path: string, expected: readonly string[]): void {
  const found = new Set(readdirSync(join(path, 'volumes')));
  const missing = expected.filter((name) => !found.has(name));
  if (missing.length > 0) throw new Error(`lost: ${missing.slice(0, 10).join(', ')}`);
  if (found.size !== expected.length)
    throw new Error(`${found.size} are there instead of ${expected.length}`);
}
