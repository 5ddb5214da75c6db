import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openPool, type Pool } from '../../src/index.ts';
import { type PausedChild, pausedChild } from '../crash/paused-child.ts';
import { perform } from '../crash/perform.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { conformance, type Suite, staged } from './suite.ts';

/**
 * A process that stops in the middle of something has its locks for as long as it is stopped, and one that was killed has none:
 * others are told what is busy, or go on; nobody waits for ever, and nothing of the stopped one is taken away.
 */

const MiB = 2 ** 20;

type Call = readonly [method: string, ...args: unknown[]];

interface Work {
  readonly name: string;
  /** What the process does with the volume `v`, which has the snapshot `v@s`, and the volume `v-second`. */
  readonly call: (v: string, image: string) => Call;
  readonly stopsBefore: RegExp;
  /** What somebody else asks for, which must wait, and what he is told to be busy. */
  readonly meets: (v: string) => Call;
  readonly busy: (v: string) => string;
  /** All that there is when it has been done. */
  readonly done: (v: string) => readonly string[];
}

const works: readonly Work[] = [
  {
    name: 'a snapshot',
    call: (v) => ['snapshot', `${v}@new`, {}],
    stopsBefore: /^renameat2 new$/,
    meets: (v) => ['rename', v, `${v}-other`],
    busy: (v) => v,
    done: (v) => [v, `${v}-second`, `${v}@new`, `${v}@s`],
  },
  {
    name: 'a rollback that has exchanged the disks',
    call: (v) => ['rollback', `${v}@s`, {}],
    stopsBefore: /^renameat2 pre-rollback/,
    meets: (v) => ['clone', v, `${v}-copy`, {}],
    busy: (v) => v,
    done: (v) => [v, `${v}-second`, `${v}@pre-rollback`, `${v}@s`],
  },
  {
    name: 'an import',
    call: (v, image) => ['import', `${v}-new`, image, {}],
    stopsBefore: /^renameat2 .*-new$/,
    meets: (v) => ['clone', `${v}-new`, `${v}-copy`, {}],
    busy: (v) => `${v}-new`,
    done: (v) => [v, `${v}-new`, `${v}-second`, `${v}@s`],
  },
  {
    name: 'a snapshot of several volumes',
    call: (v) => ['snapshot', [v, `${v}-second`], { name: 'new' }],
    stopsBefore: /^renameat2 [0-9a-f-]{36}$/,
    meets: (v) => ['grow', `${v}-second`, { bytes: 2 * MiB }],
    busy: (v) => `${v}-second`,
    done: (v) => [v, `${v}-second`, `${v}-second@new`, `${v}@new`, `${v}@s`],
  },
  {
    name: 'a removal of several volumes',
    call: (v) => ['remove', [`${v}@s`, `${v}-second`], {}],
    stopsBefore: /^renameat2 .*-second\./,
    meets: (v) => ['snapshot', [v, `${v}-second`], { name: 'other' }],
    busy: (v) => `${v}-second`,
    done: (v) => [v],
  },
];

conformance(
  'a process that is stuck',
  (suite) => {
    describe.each(works)('in $name', (work) => {
      test.each([true, false])(
        '(inline: %s) is waited for as long as asked, and then finishes',
        async (inline) => {
          const v = await prepared(suite);
          await using child = await stopped(suite, work, v);
          child.signal('SIGSTOP');
          {
            await using pool = await openPool(suite.home.path, { inline, lockTimeout: 200 });
            const error = await refusal(() => perform(pool, work.meets(v)), 'busy');
            expect(error.message).toMatch(new RegExp(`^${work.busy(v)} `));
            // All else goes on.
            const other = suite.name();
            await pool.create(other, { bytes: MiB });
            await pool.snapshot([`${other}@s`]);
            await pool.remove(other, { withSnapshots: true });
            await pool.list();
            expect((await pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
          }
          child.signal('SIGCONT');
          await child.finish();
          expect(await referencesOf(suite.pool, v)).toEqual(work.done(v));
          expect(staged(suite.home)).toEqual([]);
          await expectContents(suite.pool, v);
        },
      );

      test('is killed: who waited goes on, and nothing is half done', async () => {
        const v = await prepared(suite);
        await using child = await stopped(suite, work, v);
        await using pool = await openPool(suite.home.path, { inline: true, lockTimeout: 60_000 });
        const waiting = perform(pool, work.meets(v)).then(
          () => 'done',
          (error: Error & { code: unknown }) => error.code,
        );
        await child.kill();
        expect(['done', 'not_found']).toContain(await waiting);
        await using sweeper = await openPool(suite.home.path, { inline: true });
        expect(staged(suite.home)).toEqual([]);
        expect((await sweeper.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
        if (work.meets(v)[0] === 'rename') await pool.rename(`${v}-other`, v);
        await expectContents(pool, v);
      });
    });

    test('a volume whose rollback has died can be removed at once, with what that has replaced', async () => {
      const v = await prepared(suite);
      const rollback = works.find(({ name }) => name.startsWith('a rollback')) as Work;
      // Opened before, so that nothing is cleared up by opening it.
      await using pool = await openPool(suite.home.path, { inline: true });
      await using child = await stopped(suite, rollback, v);
      await child.kill();
      const { blockers } = await refusal(() => pool.remove(v), 'blocked');
      expect(blockers.map(({ what }) => what)).toContainEqual(expect.stringContaining('pre-rollback'));
      await expectContents(pool, v);
      await pool.remove(v, { withSnapshots: true });
      await using _sweeper = await openPool(suite.home.path, { inline: true });
      expect(staged(suite.home)).toEqual([]);
    });

    test('what a rollback has kept that died then does not come back when it is removed', async () => {
      const v = await prepared(suite);
      const rollback = works.find(({ name }) => name.startsWith('a rollback')) as Work;
      await using pool = await openPool(suite.home.path, { inline: true });
      await using child = await stopped(suite, rollback, v);
      await child.until(/./);
      await child.kill();
      const kept = (await pool.listSnapshots(v)).find(({ reason }) => reason === 'rollback');
      await pool.remove(kept?.reference ?? '');
      await using sweeper = await openPool(suite.home.path, { inline: true });
      expect((await sweeper.listSnapshots(v)).map(({ name }) => name)).toEqual(['s']);
      expect(staged(suite.home)).toEqual([]);
    });

    test('neither files nor locks that others leave in a pool keep anybody waiting', async () => {
      const v = await prepared(suite);
      const { path } = suite.home;
      const places = ['.', '.staging', '.tombstones', 'volumes', `volumes/${v}`, `volumes/${v}/snapshots`];
      const files = places.flatMap((place) =>
        ['lock', '.lock', 'pool.lock'].map((name) => join(path, place, name)),
      );
      using _left = clearedLater(files);
      for (const file of files) writeFileSync(file, `${process.pid}\n`);
      await using pool = await openPool(path, { lockTimeout: 0 });
      await pool.snapshot([`${v}@more`, `${v}-second@more`]);
      await pool.rollback(`${v}@s`);
      await pool.remove(`${v}@more`);
      await expectContents(pool, v);
    });
  },
  { needs: 'directories' },
);

function clearedLater(files: readonly string[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const file of files) rmSync(file, { force: true });
    },
  };
}

/** A volume whose snapshot holds pattern 1, and whose disk holds 2; and another one beside it. */
async function prepared(suite: Suite): Promise<string> {
  const { name, path } = await suite.volume();
  writePattern(path, 1, 0, MiB);
  await suite.pool.snapshot(`${name}@s`);
  writePattern(path, 2, 0, MiB);
  await suite.pool.create(`${name}-second`, { bytes: MiB });
  return name;
}

async function stopped(suite: Suite, work: Work, v: string): Promise<PausedChild> {
  const image = join(suite.scratch, `${v}.raw`);
  writeFileSync(image, patternBytes(3, MiB));
  const child = pausedChild({ pool: suite.home.path, call: work.call(v, image) });
  await child.until(work.stopsBefore);
  return child;
}

async function referencesOf(pool: Pool, v: string): Promise<string[]> {
  const volumes = (await pool.list()).filter(({ name }) => name === v || name.startsWith(`${v}-`));
  const snapshots = await Promise.all(volumes.map(({ name }) => pool.listSnapshots(name)));
  const references = [
    ...volumes.map(({ name }) => name),
    ...snapshots.flat().map(({ reference }) => reference),
  ];
  return references.map((reference) => reference.replace(/@pre-rollback-.*/, '@pre-rollback')).sort();
}

/** Each disk holds what it should: a disk that was rolled back what the snapshot does, and what was kept what it replaced. */
async function expectContents(pool: Pool, v: string): Promise<void> {
  const snapshots = (await pool.listSnapshots(v)).filter(({ reason }) => reason !== undefined);
  const kept = snapshots.filter(({ reason }) => reason === 'rollback');
  expect(kept.length).toBeLessThanOrEqual(1);
  const expected = new Map<string, number>([
    [v, kept.length > 0 ? 1 : 2],
    ...snapshots.map(({ reference, name }) => {
      return [reference, name === 's' ? 1 : 2] as const;
    }),
  ]);
  for (const [reference, seed] of expected)
    expect(digest(await pool.diskPath(reference)), reference).toBe(digestOf(patternBytes(seed, MiB)));
}
