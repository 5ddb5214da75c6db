import { closeSync, mkdirSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { makeTestPool } from '../../../test/support/test-pool.ts';
import { runProgram } from '../../linux/programs.ts';
import { volumesIn } from '../directory/records.ts';
import { volumesInTree } from './volumes-in-tree.ts';

/** What a hand may do in the directory of volumes, or at one of them. */
const oddities: Readonly<Record<string, (volumes: string, name: string) => void>> = {
  'a directory without metadata': (volumes, name) => mkdirSync(join(volumes, `${name}-foreign`)),
  'a file': (volumes, name) => writeFileSync(join(volumes, `${name}-file`), ''),
  'a link to a volume': (volumes, name) => symlinkSync(name, join(volumes, `${name}-link`)),
  'a copy of a volume': (volumes, name) =>
    runProgram('cp', ['-a', '--', join(volumes, name), join(volumes, `${name}-copy`)]),
  'a subvolume': (volumes, name) =>
    runProgram('btrfs', ['subvolume', 'create', join(volumes, `${name}-subvolume`)]),
  'a volume without a disk': (volumes, name) => rmSync(join(volumes, name, 'data/disk.raw'), { force: true }),
  'snapshots that are a link': (volumes, name) => replaceByLink(join(volumes, name, 'snapshots')),
  'a disk that is a link': (volumes, name) => replaceByLink(join(volumes, name, 'data/disk.raw')),
  'a mount over the data': (volumes, name) => mountOver(join(volumes, name, 'data')),
  'a mount over the snapshots': (volumes, name) => mountOver(join(volumes, name, 'snapshots')),
  'a mount over the volume': (volumes, name) => mountOver(join(volumes, name)),
  'a name with a line break': (volumes, name) => mkdirSync(join(volumes, `${name}\nü`)),
  'many strangers between': (volumes, name) => makeFiles(join(volumes, '..', `aside-${name}`)),
};

test('reading the tree tells the same as looking at each volume', { timeout: 120_000 }, async () => {
  const step = fc.record({
    kind: fc.constantFrom(
      'create',
      'create',
      'clone',
      'snapshot',
      'seal',
      'measure',
      ...Object.keys(oddities),
    ),
    which: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: 'max' }), async (steps) => {
      await using home = await makeTestPool();
      await using _unmounted = unmountAll(home);
      const names: string[] = [];
      for (const [index, { kind, which }] of steps.entries())
        await perform(home, names, kind, names[which % names.length], index);
      const volumes = openSync(join(home.path, 'volumes'), 'r');
      onTestFinished(() => closeSync(volumes));
      const read = volumesInTree(volumes);
      expect(read?.toSorted(byName)).toEqual(volumesIn(volumes, 'usage').toSorted(byName));
      expect(read?.length).toBeGreaterThanOrEqual(names.length);
    }),
    { numRuns: 8 },
  );
});
