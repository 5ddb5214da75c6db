import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPool } from '../../src/index.ts';
import { expectHealthy } from './judge.ts';
import { between, type Scene, type Stage } from './scene.ts';
import { type Image, makeWorld } from './world.ts';

const rollbacks = 60;
const files = 200;

/**
 * A directory tree is rolled back to and fro by another process, and at random moments an image of the disk is taken, as a power cut
 * would leave it: each has the whole tree under its name, as it is in one of the two snapshots, and none of another.
 */
export const treeRollbacks: Scene = {
  name: 'tree-rollbacks',
  async play(stage: Stage) {
    // xfs has no trees.
    if (stage.driver !== 'btrfs') return;
    const world = stage.owned.use(await makeWorld('btrfs', stage.random() < 0.5 ? 'btrfs' : 'xfs'));
    stage.evidence.image = world.file;
    await world.using(async (pool) => {
      await pool.create('tree', { kind: 'tree' });
      const path = await pool.diskPath('tree');
      for (const state of ['old', 'new']) {
        write(path, state);
        await pool.snapshot(`tree@${state}`);
      }
    });
    const images = await imagesWhile(rollingBack(world.path), () => world.takeImage(), stage.random);
    stage.count('rollbacks', rollbacks);
    for (const image of images) {
      stage.evidence.image = image.file;
      await world.showing(image, async () => {
        await using pool = await openPool(world.path, { inline: true });
        const path = await pool.diskPath('tree');
        assert(isOne(stateOf(path)));
        for (const { reference } of await pool.listSnapshots('tree')) {
          const state = stateOf(await pool.diskPath(reference));
          if (/@(old|new)$/.test(reference)) assert.equal(state, reference.split('@')[1]);
          else assert(isOne(state), reference);
        }
        await expectHealthy(world.path);
      });
      rmSync(image.file);
      stage.count('images of rollbacks');
    }
  },
};

function isOne(state: string): boolean {
  return state === 'old' || state === 'new';
}

function write(path: string, state: string): void {
  for (let file = 0; file < files; file++) {
    mkdirSync(join(path, `d${file % 7}`), { recursive: true });
    writeFileSync(join(path, `d${file % 7}`, String(file)), `${state} ${file}`.repeat(500));
  }
}

/** @throws when it is not wholly of one state */
function stateOf(path: string): string {
  const found = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.equal(found.length, files, path);
  const states = new Set(
    found.map(({ parentPath, name }) => {
      const text = readFileSync(join(parentPath, name), 'utf8');
      const state = text.slice(0, 3);
      assert.equal(text, `${state} ${name}`.repeat(500));
      return state;
    }),
  );
  assert.equal(states.size, 1, path);
  return [...states][0] ?? '';
}

/** Another process, which removes what each rollback keeps, so that there is always something being destroyed, too. */
function rollingBack(pool: string): ReturnType<typeof spawn> {
  const library = new URL('../../src/index.ts', import.meta.url).href;
  const script = `
    const { openPool } = await import(${JSON.stringify(library)});
    const pool = await openPool(process.argv[1], { inline: true });
    console.log('ready');
    for (let round = 0; round < ${rollbacks}; round++) {
      const { undo } = await pool.rollback(round % 2 === 0 ? 'tree@old' : 'tree@new');
      if (undo && round % 3 > 0) await pool.remove(undo);
    }
    await pool.close();
  `;
  return spawn(process.execPath, ['--input-type=module', '-e', script, pool], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function imagesWhile(
  child: ReturnType<typeof spawn>,
  takeImage: () => Image,
  random: () => number,
): Promise<Image[]> {
  if (!child.stdout) throw new Error('no output');
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  const images: Image[] = [];
  while (child.exitCode === null && images.length < rollbacks) {
    images.push(takeImage());
    await new Promise((resolve) => setTimeout(resolve, between(random, 0, 40)));
  }
  const [code] = (await ended) as [number | null];
  assert.equal(code, 0);
  return images;
}
