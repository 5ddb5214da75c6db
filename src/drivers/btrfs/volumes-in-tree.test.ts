import { mkdirSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { makeTestPool, type TestPool } from '../../../test/support/test-pool.ts';
import { Descriptor } from '../../linux/files.ts';
import { readMounts } from '../../linux/mounts.ts';
import { runProgram } from '../../linux/programs.ts';
import { volumesIn } from '../directory/records.ts';
import { volumesInTree } from './volumes-in-tree.ts';

/** What a hand or another tool may do in the directory of volumes, or at one of them. */
const oddities: Readonly<Record<string, (volumes: string, name: string, number: number) => unknown>> = {
  'a directory': (volumes, name, number) => mkdirSync(join(volumes, `${name}-foreign-${number}\nü`)),
  'a file': (volumes, name, number) => writeFileSync(join(volumes, `${name}-file-${number}`), ''),
  'a link to a volume': (volumes, name, number) => symlinkSync(name, join(volumes, `${name}-link-${number}`)),
  'a copy of a volume': (volumes, name, number) =>
    runProgram('cp', ['-a', '--', join(volumes, name), join(volumes, `${name}-copy-${number}`)]),
  'a subvolume': (volumes, name, number) =>
    runProgram('btrfs', ['subvolume', 'create', join(volumes, `${name}-subvolume-${number}`)]),
  'no metadata': (volumes, name) => runProgram('setfattr', ['-x', 'user.coppice', join(volumes, name)]),
  'no disk': (volumes, name) => rmSync(join(volumes, name, 'data/disk.raw')),
  'a disk that is a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'data/disk.raw')),
  'data that is a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'data')),
  'snapshots that are a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'snapshots')),
  'a mount over the data': (volumes, name) => mountOver(join(volumes, name, 'data')),
  'a mount over the disk': (volumes, name) => mountOver(join(volumes, name, 'data/disk.raw')),
  'a mount over the snapshots': (volumes, name) => mountOver(join(volumes, name, 'snapshots')),
  'a mount over the volume': (volumes, name) => mountOver(join(volumes, name)),
  'strangers between the inodes': (volumes, _name, number) =>
    makeFiles(join(volumes, '..', `aside-${number}`)),
};

const actions: Readonly<Record<string, (home: TestPool, name: string, number: number) => unknown>> = {
  create: ({ pool }, _name, number) => pool.create(`new-${number}`, { bytes: 4096 * (number + 1) }),
  clone: ({ pool }, name, number) => pool.clone(name, `clone-${number}`),
  seal: ({ pool }, name, number) => pool.seal(name, `template-${number}`),
  snapshot: ({ pool }, name, number) => pool.snapshot(`${name}@s-${number}`),
  measure: ({ pool }, name) => pool.usage([name], { exact: true }),
  rename: ({ pool }, name, number) => pool.rename(name, `renamed-${number}`),
};

test('the tree tells the same as looking at each volume, whatever lies there', async () => {
  const step = fc.record({
    kind: fc.constantFrom(...Object.keys(actions), ...Object.keys(actions), ...Object.keys(oddities)),
    which: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
      await using home = await makeTestPool();
      await using _ = { [Symbol.asyncDispose]: async () => unmountAllIn(home.path) };
      const volumes = join(home.path, 'volumes');
      await home.pool.create('first', { bytes: 4096 });
      using directory = new Descriptor(openSync(volumes, 'r'));
      for (const [number, { kind, which }] of steps.entries()) {
        const names = volumesIn(directory.fd).filter(({ metadata }) => metadata);
        const name = names[which % names.length]?.name;
        if (name === undefined) break;
        // What went before may stand in the way: then nothing is done.
        await attempted(() => oddities[kind]?.(volumes, name, number));
        await attempted(() => actions[kind]?.(home, name, number));
      }
      expect(volumesInTree(directory.fd)?.sort(byName)).toEqual(
        volumesIn(directory.fd, 'usage').sort(byName),
      );
    }),
    { numRuns: process.env['COPPICE_TORTURE'] ? 200 : 6 },
  );
}, 300_000);

test('thousands of volumes among the files of others are all there', async () => {
  await using home = await makeTestPool();
  await home.pool.create('first', { bytes: 4096 });
  for (const group of ['a', 'b', 'c']) {
    await home.pool.cloneMany('first', group, 500, { durability: 'deferred' });
    makeFiles(join(home.path, group));
    await home.pool.snapshot(`${group}-250@s`);
  }
  using directory = new Descriptor(openSync(join(home.path, 'volumes'), 'r'));
  const read = volumesInTree(directory.fd) ?? [];
  expect(read.sort(byName)).toEqual(volumesIn(directory.fd, 'usage').sort(byName));
  expect(read).toHaveLength(1501);
  expect(read.every(({ bytes, metadata }) => bytes === 4096 && metadata?.type === 'volume')).toBe(true);
  expect(read.filter(({ snapshots }) => snapshots === 1).map(({ name }) => name)).toEqual([
    'a-250',
    'b-250',
    'c-250',
  ]);
}, 60_000);

async function attempted(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch {}
}

function linkInPlaceOf(path: string): void {
  renameSync(path, `${path}.moved`);
  symlinkSync(`${path}.moved`, path);
}

function mountOver(path: string): void {
  runProgram('mount', ['--bind', '--', path, path]);
}

function unmountAllIn(path: string): void {
  for (const { mountPoint } of readMounts().reverse())
    if (mountPoint.startsWith(`${path}/`)) runProgram('umount', ['--', mountPoint]);
}

function makeFiles(path: string): void {
  mkdirSync(path);
  for (let index = 0; index < 3000; index++) writeFileSync(join(path, `file-${index}`), '');
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
