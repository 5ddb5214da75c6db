import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;
const state = (seed: number): string => digestOf(patternBytes(seed, MiB));

/** What other tools leave in a pool: copies of a volume's directory, subvolumes inside of its data, mounts on it. */
conformance(
  'what other tools made',
  (suite) => {
    const planted = (...path: string[]): string => join(suite.home.path, ...path);
    const tombstones = (): string[] => readdirSync(planted('.tombstones'));
    const errors = async (subject: string): Promise<string> =>
      (await suite.pool.check())
        .filter((finding) => finding.subject === subject && finding.severity === 'error')
        .map((finding) => finding.message)
        .join('\n');

    const copied = async (): Promise<{ name: string; copy: string }> => {
      const { name, path } = await suite.volume();
      writePattern(path, 1, 0, MiB);
      await suite.pool.snapshot(`${name}@s`);
      const copy = suite.name('copy');
      runProgram('cp', ['-a', '--', planted('volumes', name), planted('volumes', copy)]);
      return { name, copy };
    };

    suite.needs('copiesDiffer')(
      'a copy of a volume is told from what Coppice makes, has its place in the tree, and can be removed',
      async () => {
        const { name, copy } = await copied();
        for (const each of [name, copy]) expect(await errors(each)).toMatch(/have the same id/);
        expect(await errors(copy)).toMatch(/plain directory/);
        expect(await errors(`${copy}@s`)).toMatch(/plain directory/);
        expect(await errors(`${name}@s`)).toBe('');
        expect((await suite.pool.tree()).map((node) => node.name)).toEqual(
          expect.arrayContaining([name, copy]),
        );
        for (const refused of [
          () => suite.pool.snapshot(`${copy}@t`),
          () => suite.pool.rollback(`${copy}@s`),
          () => suite.pool.seal(copy, suite.name()),
          () => suite.pool.clone(copy, suite.name(), { replicable: true }),
        ])
          expect((await refusal(refused, 'damaged')).message).toMatch(/plain directory/);
        expect(digest(await suite.pool.diskPath(copy))).toBe(state(1));
        await suite.pool.import(suite.name('rescued'), await suite.pool.diskPath(copy));
        await suite.pool.remove(copy, { withSnapshots: true });
        expect(tombstones()).toEqual([]);
        expect(await errors(name)).toBe('');
        expect(digest(await suite.pool.diskPath(name))).toBe(state(1));
      },
    );

    test('what a copy holds is removed without following a link or entering a mount', async () => {
      const { copy } = await copied();
      const outside = scratchDirectory('outside');
      writeFileSync(join(outside, 'file'), 'precious');
      const data = planted('volumes', copy, 'data');
      symlinkSync(outside, join(data, 'link'));
      mkdirSync(join(data, 'a', 'b'), { recursive: true });
      symlinkSync(outside, join(data, 'a', 'b', 'link'));
      runProgram('mkfifo', ['--', join(data, 'a', 'pipe')]);
      if (suite.backend.name === 'btrfs')
        runProgram('btrfs', ['subvolume', 'create', join(data, 'a', 'b', 'nested')]);
      await suite.pool.remove(copy, { withSnapshots: true });
      expect(tombstones()).toEqual([]);
      expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('precious');

      const { copy: other } = await copied();
      await suite.pool.remove(`${other}@s`);
      runProgram('mv', ['--', planted('volumes', other), planted('.tombstones', other)]);
      const inside = planted('.tombstones', other, 'data', 'mounted');
      mkdirSync(inside);
      runProgram('mount', ['--bind', '--', outside, inside]);
      try {
        await suite.home.reopen();
        expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('precious');
        expect(existsSync(join(inside, 'file'))).toBe(true);
      } finally {
        runProgram('umount', ['--', inside]);
      }
      await suite.home.reopen();
      expect(tombstones()).toEqual([]);
      expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('precious');
    });

    suite.needs('wholeDirectories')(
      'a subvolume inside of the data is reported, is not lost by a rollback, and goes with its volume',
      async () => {
        const { name, path } = await suite.volume();
        await suite.pool.snapshot(`${name}@s`);
        const nested = join(dirname(path), 'nested');
        runProgram('btrfs', ['subvolume', 'create', nested]);
        runProgram('btrfs', ['subvolume', 'create', join(nested, 'deeper')]);
        runProgram('btrfs', ['subvolume', 'snapshot', '-r', nested, join(nested, 'frozen')]);
        writeFileSync(join(nested, 'deeper', 'file'), 'precious');
        expect(await errors(name)).toMatch(/contains the subvolume nested/);
        expect((await refusal(() => suite.pool.rollback(`${name}@s`), 'damaged')).message).toMatch(/nested/);
        expect(readFileSync(join(nested, 'deeper', 'file'), 'utf8')).toBe('precious');
        await suite.pool.snapshot(`${name}@t`);
        await suite.pool.remove(`${name}@t`);
        await suite.pool.remove(name, { withSnapshots: true });
        expect(tombstones()).toEqual([]);
        expect(runProgram('btrfs', ['subvolume', 'list', suite.home.path])).not.toMatch(
          /nested|deeper|frozen/,
        );
      },
    );

    test('a copy of a volume is reported, and can be removed without harm', async () => {
      const { name, copy } = await copied();
      for (const each of [name, copy]) expect(await errors(each)).toMatch(/have the same id/);
      expect(await errors(`${copy}@s`)).not.toBe('');
      expect(await errors(`${name}@s`)).toBe('');
      await suite.pool.remove(copy, { withSnapshots: true });
      expect(tombstones()).toEqual([]);
      expect(await errors(name)).toBe('');
      expect(digest(await suite.pool.diskPath(name))).toBe(state(1));
    });

    test('what lies beside the disk is in a snapshot, or keeps the volume from being rolled back', async () => {
      const { name, path } = await suite.volume();
      await suite.pool.snapshot(`${name}@s`);
      const beside = join(dirname(path), 'notes');
      writeFileSync(beside, 'precious');
      if (suite.backend.traits.wholeDirectories === true) {
        const { undo } = await suite.pool.rollback(`${name}@s`);
        const kept = await suite.pool.diskPath(undo ?? '');
        expect(readFileSync(join(dirname(kept), 'notes'), 'utf8')).toBe('precious');
      } else {
        expect(await errors(name)).toMatch(/notes/);
        expect((await refusal(() => suite.pool.rollback(`${name}@s`), 'damaged')).message).toMatch(/notes/);
        expect(readFileSync(beside, 'utf8')).toBe('precious');
      }
    });

    test('what is mounted on a volume keeps it from going, also by force', async () => {
      const { name, path } = await suite.volume();
      await suite.pool.snapshot(`${name}@s`);
      const snapshot = dirname(await suite.pool.diskPath(`${name}@s`));
      for (const place of [dirname(path), path, snapshot]) {
        const source = scratchDirectory('mounted');
        writeFileSync(join(source, 'file'), 'precious');
        runProgram('mount', ['--bind', '--', place === path ? join(source, 'file') : source, place]);
        try {
          for (const force of [false, true]) {
            const removal = await refusal(
              () => suite.pool.remove(name, { withSnapshots: true, force }),
              'blocked',
            );
            expect(removal.blockers).toMatchObject([{ kind: 'mounted' }]);
            expect(removal.blockers[0]?.what).toContain(`is mounted on ${place}`);
            expect(removal.blockers[0]?.remedy).not.toContain('--force');
            if (place !== snapshot)
              await refusal(() => suite.pool.rollback(`${name}@s`, { force }), 'blocked');
          }
          expect((await suite.pool.list()).some((volume) => volume.name === name)).toBe(true);
        } finally {
          runProgram('umount', ['--', place]);
        }
      }
      await suite.pool.remove(name, { withSnapshots: true });
      expect(tombstones()).toEqual([]);
    });
  },
  { needs: 'directories' },
);
