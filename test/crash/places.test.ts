import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CoppiceError, openPool, type Pool } from '../../src/index.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { fileSystems } from '../conformance/backends.ts';
import { scratchDirectory } from '../support/devices.ts';
import type { TestPool } from '../support/test-pool.ts';
import { poolInMemory } from './pool-in-memory.ts';
import { type Outcome, runChild } from './run-child.ts';
import { killSteps } from './steps.ts';

/**
 * `kill -9` before every step of what puts a tree somewhere on the host. The pool and the host may differ then only in ways that the
 * check finds and the next command mends; and at a place that was adopted is at every moment the directory or the volume.
 */

interface Scene {
  readonly pool: Pool;
  /** A directory for the place, and the place. */
  readonly home: string;
  readonly at: string;
  readonly boot: { readonly fstab: string; readonly unitDirectory: string };
}

interface Case {
  readonly name: string;
  prepare(scene: Scene): Promise<void>;
  call(scene: Scene): readonly [method: string, ...args: unknown[]];
  /** What must be there at any time. */
  always?(scene: Scene): void;
  /** The next run; afterwards nothing may be amiss. */
  mend(scene: Scene): Promise<void>;
  whole(scene: Scene): Promise<void>;
}

const tree = async ({ pool }: Scene): Promise<void> => {
  await pool.create('t', { kind: 'tree' });
  writeFileSync(join(await pool.diskPath('t'), 'state'), 'kept');
};

const isThere = ({ at }: Scene): void => expect(readFileSync(join(at, 'state'), 'utf8')).toBe('kept');

const isNowhere = async ({ pool, home, at, boot }: Scene): Promise<void> => {
  expect(readdirSync(home).filter((name) => name !== 'data')).toEqual([]);
  expect(existsSync(at) ? readdirSync(at) : []).toEqual([]);
  expect(existsSync(boot.fstab) ? readFileSync(boot.fstab, 'utf8') : '').toBe('');
  expect(await pool.show('t')).not.toHaveProperty('at');
};

/** Whatever a mount has left: it is done again as recorded, or from the beginning. */
const mountAgain =
  (link: boolean) =>
  async ({ pool, at, boot }: Scene): Promise<void> => {
    await pool.mount('t', at, { ...boot, link });
  };

const originalState = (scene: Scene): void => {
  mkdirSync(scene.at);
  writeFileSync(join(scene.at, 'state'), 'kept');
  writeFileSync(join(scene.at, 'large'), Buffer.alloc(100_000, 'x'));
};

const asideIn = ({ home }: Scene): string[] =>
  readdirSync(home).filter((name) => name.includes('before-adoption'));

const cases: readonly Case[] = [
  {
    name: 'mount',
    prepare: tree,
    call: ({ at, boot }) => ['mount', 't', at, boot],
    mend: mountAgain(false),
    whole: async (scene) => isThere(scene),
  },
  {
    name: 'link, in the place of an empty directory',
    async prepare(scene) {
      await tree(scene);
      mkdirSync(scene.at);
    },
    call: ({ at, boot }) => ['mount', 't', at, { ...boot, link: true }],
    mend: mountAgain(true),
    async whole(scene) {
      isThere(scene);
      expect(readdirSync(scene.home)).toEqual(['data']);
    },
  },
  ...[true, false].map(
    (link): Case => ({
      name: `unmount of a ${link ? 'link' : 'mount'}`,
      async prepare(scene) {
        await tree(scene);
        await scene.pool.mount('t', scene.at, { ...scene.boot, link });
      },
      call: ({ at, boot }) => ['unmount', 't', at, boot],
      async mend({ pool, boot }) {
        if ((await pool.show('t')).at) await pool.unmount('t', undefined, boot);
      },
      whole: isNowhere,
    }),
  ),
  ...[true, false].map(
    (link): Case => ({
      name: `rename of what is behind a ${link ? 'link' : 'mount'}`,
      async prepare(scene) {
        await tree(scene);
        await scene.pool.mount('t', scene.at, { ...scene.boot, link });
      },
      call: ({ boot }) => ['rename', 't', 'moved', boot],
      async mend({ pool, boot }) {
        const names = (await pool.list()).map(({ name }) => name);
        if (!names.includes('moved')) await pool.rename('t', 'moved', boot);
        else await pool.mount('moved', undefined, boot);
      },
      async whole(scene) {
        isThere(scene);
        expect(readdirSync(scene.home)).toEqual(['data']);
        await scene.pool.rename('moved', 't', scene.boot);
      },
    }),
  ),
  {
    name: 'adoption',
    prepare: async (scene) => originalState(scene),
    call: ({ at }) => ['adoptTree', at, { name: 't' }],
    always: isThere,
    async mend({ pool, at }) {
      await pool.adoptTree(at, { name: 't' });
    },
    async whole(scene) {
      isThere(scene);
      expect(lstatSync(scene.at).isSymbolicLink()).toBe(true);
      const [aside = ''] = asideIn(scene);
      expect(readdirSync(scene.home).sort()).toEqual(['data', aside]);
      expect(readFileSync(join(scene.home, aside, 'state'), 'utf8')).toBe('kept');
    },
  },
  {
    name: 'undoing an adoption',
    async prepare(scene) {
      originalState(scene);
      await scene.pool.adoptTree(scene.at, { name: 't' });
    },
    call: ({ at }) => ['undoAdoption', at],
    always: isThere,
    async mend({ pool, at }) {
      if ((await pool.show('t')).at) await pool.undoAdoption(at);
    },
    async whole(scene) {
      isThere(scene);
      expect(lstatSync(scene.at).isDirectory()).toBe(true);
      expect(readdirSync(scene.home)).toEqual(['data']);
      expect(await scene.pool.show('t')).not.toHaveProperty('at');
    },
  },
  {
    name: 'removing what was there before an adoption',
    async prepare(scene) {
      originalState(scene);
      await scene.pool.adoptTree(scene.at, { name: 't' });
    },
    call: ({ at }) => ['removeOriginal', at],
    always: isThere,
    async mend({ pool, at }) {
      if ((await pool.show('t')).at?.original !== undefined) await pool.removeOriginal(at);
    },
    async whole(scene) {
      isThere(scene);
      expect(readdirSync(scene.home)).toEqual(['data']);
    },
  },
];

describe.each(fileSystems.filter(({ capabilities }) => capabilities['treeVolumes'] === true))(
  'on $name',
  (backend) => {
    let shared: TestPool;
    let count = 0;

    beforeAll(async () => {
      shared = await poolInMemory(backend);
    });

    afterAll(() => shared[Symbol.asyncDispose]());

    const begun = async (each: Case): Promise<Scene> => {
      // On the file system of the pool, so that adoption shares blocks.
      const home = join(shared.path, `home-${++count}`);
      mkdirSync(home);
      const boot = {
        fstab: join(scratchDirectory('etc'), 'fstab'),
        unitDirectory: scratchDirectory('units'),
      };
      // The pool itself is where a tree can't be mounted.
      const outside = scratchDirectory('home');
      const scene = (at: string): Scene => ({ pool: shared.pool, home: at, at: join(at, 'data'), boot });
      const made = each.name.includes('adoption') ? scene(home) : scene(outside);
      await each.prepare(made);
      return made;
    };

    const ended = async ({ pool, home, at }: Scene): Promise<void> => {
      for (const { mountPoint } of readMounts().reverse())
        if (mountPoint === at) runProgram('umount', ['--', at]);
      rmSync(home, { recursive: true, force: true });
      for (const { name, at: place } of await pool.list()) {
        if (place?.original !== undefined) {
          // What is recorded of a place that is gone is forgotten once the way back is.
          mkdirSync(home, { recursive: true });
          mkdirSync(join(home, place.original));
          symlinkSync(await pool.diskPath(name), at);
          await pool.removeOriginal(at);
        }
        if (place)
          await pool.unmount(name, undefined, { force: true, fstab: '/nowhere', unitDirectory: '/nowhere' });
        await pool.remove(name);
      }
      for (const name of readdirSync(shared.path).filter((each) => each.startsWith('home-')))
        rmSync(join(shared.path, name), { recursive: true });
    };

    test.each(cases)(
      'kill -9 during $name leaves what is found and mended, at every step',
      async (each) => {
        const first = await begun(each);
        let whole: Outcome;
        try {
          whole = await runChild({ pool: shared.path, call: each.call(first) });
          await each.whole(first);
          expect(await problems(first)).toEqual([]);
        } finally {
          await ended(first);
        }
        for (const step of killSteps(whole, backend)) {
          const scene = await begun(each);
          const { died } = await runChild({ pool: shared.path, call: each.call(scene), dieAt: step });
          const where = `killed before step ${step} of ${whole.steps.length}: ${whole.steps[step - 1]}`;
          try {
            each.always?.(scene);
            if (died) {
              await using again = await openPool(shared.path, { inline: true });
              await each.mend({ ...scene, pool: again });
            }
            await each.whole(scene);
            expect(await problems(scene)).toEqual([]);
            expect(readdirSync(join(shared.path, '.staging'))).toEqual([]);
          } catch (error) {
            const message = error instanceof CoppiceError ? error.message : String(error);
            throw new Error(`${where}: ${message}`, { cause: error });
          } finally {
            await ended(scene);
          }
        }
      },
      600_000,
    );
  },
);

async function problems({ pool, boot }: Scene): Promise<string[]> {
  const findings = await pool.check(boot);
  return findings.filter(({ subject }) => ['t', 'moved'].includes(subject)).map(({ message }) => message);
}
