import { mkdirSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeTestPool } from '../../../test/support/test-pool.ts';
import { removeAttribute } from '../../linux/attributes.ts';
import { Descriptor } from '../../linux/files.ts';
import { readMounts } from '../../linux/mounts.ts';
import { runProgram } from '../../linux/programs.ts';
import { observeCalls } from '../../linux/system-calls.ts';
import { volumesIn } from '../directory/records.ts';
import type { VolumeRecord } from '../driver.ts';
import { volumesInTree } from './volumes-in-tree.ts';

/** What a hand or another tool may do in the directory of volumes, or at one of them. */
const oddities: Readonly<Record<string, (volumes: string, name: string) => unknown>> = {
  'a directory': (volumes, name) => mkdirSync(join(volumes, `${name}-foreign\nü`)),
  'a file': (volumes, name) => writeFileSync(join(volumes, `${name}-file`), ''),
  'a link to a volume': (volumes, name) => symlinkSync(name, join(volumes, `${name}-link`)),
  'a copy of a volume': (volumes, name) =>
    runProgram('cp', ['-a', '--', join(volumes, name), join(volumes, `${name}-copy`)]),
  'a subvolume': (volumes, name) =>
    runProgram('btrfs', ['subvolume', 'create', join(volumes, `${name}-subvolume`)]),
  'no metadata': (volumes, name) => {
    using volume = new Descriptor(openSync(join(volumes, name), 'r'));
    removeAttribute(volume.fd, 'user.coppice');
  },
  'no disk': (volumes, name) => rmSync(join(volumes, name, 'data/disk.raw')),
  'a disk that is a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'data/disk.raw')),
  'data that is a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'data')),
  'snapshots that are a link': (volumes, name) => linkInPlaceOf(join(volumes, name, 'snapshots')),
  'snapshots that are a subvolume': (volumes, name) => {
    renameSync(join(volumes, name, 'snapshots'), join(volumes, name, 'moved'));
    runProgram('btrfs', ['subvolume', 'create', join(volumes, name, 'snapshots')]);
    mkdirSync(join(volumes, name, 'snapshots', 's'));
  },
  'a mount over the data': (volumes, name) => mountOver(join(volumes, name, 'data')),
  'a mount over the disk': (volumes, name) => mountOver(join(volumes, name, 'data/disk.raw')),
  'a mount over the snapshots': (volumes, name) => mountOver(join(volumes, name, 'snapshots')),
  'a mount over the volume': (volumes, name) => mountOver(join(volumes, name)),
  'strangers between the inodes': (volumes) => makeFiles(join(volumes, '..', `aside`)),
};

test.each(Object.keys(oddities))('%s is told as by looking at each volume', async (oddity) => {
  await using home = await makeTestPool();
  await using _ = { [Symbol.asyncDispose]: async () => unmountAllIn(home.path) };
  await home.pool.create('plain', { bytes: 4096 });
  await home.pool.create('odd', { bytes: 8192 });
  for (const name of ['plain@s', 'odd@s', 'odd@t']) await home.pool.snapshot(name);
  await home.pool.usage(['odd', 'plain'], { exact: true });
  const volumes = join(home.path, 'volumes');
  oddities[oddity]?.(volumes, 'odd');
  using directory = new Descriptor(openSync(volumes, 'r'));
  expectSame(directory.fd);
});

test('thousands of volumes among the files of others are all there, for little more than one call each', async () => {
  await using home = await makeTestPool();
  await home.pool.create('first', { bytes: 4096 });
  for (const group of ['a', 'b', 'c']) {
    await home.pool.cloneMany('first', group, 500, { durability: 'deferred' });
    makeFiles(join(home.path, group));
    await home.pool.snapshot(`${group}-250@s`);
  }
  using directory = new Descriptor(openSync(join(home.path, 'volumes'), 'r'));
  const read = expectSame(directory.fd);
  expect(read).toHaveLength(1501);
  expect(read.every(({ bytes, metadata }) => bytes === 4096 && metadata?.type === 'volume')).toBe(true);
  expect(read.filter(({ snapshots }) => snapshots === 1).map(({ name }) => name)).toEqual([
    'a-250',
    'b-250',
    'c-250',
  ]);
  let calls = 0;
  observeCalls(() => {
    calls++;
    return undefined;
  });
  volumesInTree(directory.fd);
  observeCalls(undefined);
  expect(calls).toBeLessThan(read.length * 1.1);
}, 60_000);

/** What the tree tells, which must be what looking at each tells. */
function expectSame(volumes: number): VolumeRecord[] {
  const read = volumesInTree(volumes)?.sort(byName) ?? [];
  expect(read).toEqual(volumesIn(volumes, 'usage').sort(byName));
  return read;
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
