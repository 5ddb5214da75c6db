import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { lockPool } from '../../src/drivers/directory/pool-lock.ts';
import { openRoot, poolAttribute } from '../../src/engine/pools/open.ts';
import { openPool, type Pool } from '../../src/index.ts';
import { writeAttribute } from '../../src/linux/attributes.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import { encodeMetadata } from '../../src/model/metadata-text.ts';
import { type PausedChild, pausedChild } from '../crash/paused-child.ts';
import { digest, digestOf, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { watchGroups } from '../support/group-watcher.ts';
import { committing, everything, renameDuringSweep, several } from './grouping.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

conformance('several snapshots at once', (suite) => {
  const { needs } = suite;

  needs('snapshots')('hold the state of each volume, and are found by their group', async () => {
    const volumes = await several(suite, 3);
    const contents = await Promise.all(
      volumes.map(async (name, seed) => writePattern(await suite.pool.diskPath(name), seed, 0, MiB)),
    );
    const references = volumes.map((name) => `${name}@s`);
    const taken = await suite.pool.snapshot(references);
    expect(taken).toEqual({
      group: expect.stringMatching(/^[0-9a-f-]{36}$/),
      snapshots: volumes.map((volume) => ({
        reference: `${volume}@s`,
        volume,
        name: 's',
        id: expect.any(String),
        consistency: 'sync',
        created: expect.any(String),
      })),
      apartMilliseconds: expect.any(Number),
      sameInstant: suite.backend.capabilities['sameInstantSnapshots'] === true,
    });
    expect(taken.apartMilliseconds > 0).toBe(!taken.sameInstant);
    for (const [index, reference] of references.entries())
      expect(digest(await suite.pool.diskPath(reference))).toBe(digestOf(contents[index] as Buffer));
    const members = (await suite.pool.listSnapshots()).filter((snapshot) => snapshot.group === taken.group);
    expect(members.map((member) => member.reference).sort()).toEqual([...references].sort());
    expect((await suite.pool.show(volumes[0] ?? '')).snapshotList[0]?.group).toBe(taken.group);
    const single = await suite.pool.snapshot(volumes[0] ?? '');
    expect(Object.keys(single)).not.toContain('group');
  });

  needs('snapshots')('are the same whatever the order, and what is named twice is taken once', async () => {
    const volumes = await several(suite, 4);
    let round = 0;
    const orders = fc.array(fc.constantFrom(...volumes), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const name = `round-${++round}`;
        const { group, snapshots } = await suite.pool.snapshot(order, { name });
        const expected = [...new Set(order)].map((volume) => `${volume}@${name}`);
        expect(snapshots.map((snapshot) => snapshot.reference)).toEqual(expected);
        expect(await membersOf(suite.pool, group)).toEqual([...expected].sort());
      }),
      { numRuns: 20 * suite.backend.scale },
    );
  });

  needs('snapshots')('without a name get one name, which none of them has yet', async () => {
    const volumes = await several(suite, 3);
    const given = new Set<string>();
    for (let round = 0; round < 4; round++) {
      given.add((await suite.pool.snapshot(volumes[round % 3] ?? '')).name);
      // In one step there is one snapshot of each volume.
      const own = suite.backend.traits.groupsInSteps === true ? [`${volumes[0]}@own-${round}`] : [];
      const { snapshots } = await suite.pool.snapshot([...volumes, ...own]);
      const names = new Set(snapshots.slice(0, 3).map((snapshot) => snapshot.name));
      expect(names.size).toBe(1);
      for (const name of names) expect(given).not.toContain(name);
      for (const name of names) given.add(name);
      expect(snapshots.slice(3).map(({ reference }) => reference)).toEqual(own);
    }
  });

  needs('snapshots')('are not taken when one can not be, which is named', async () => {
    const [a = '', b = '', c = ''] = await several(suite, 3);
    const template = suite.name('t');
    await suite.pool.seal(b, template);
    await suite.pool.snapshot(`${b}@taken`);
    const before = await everything(suite.pool);
    for (const [references, code, named] of [
      [[a, b, c].map((name) => `${name}@taken`), 'already_exists', b],
      [[a, 'never-made', c], 'not_found', 'never-made'],
      [[a, template, c], 'blocked', template],
      [[a, `${b}@s`, '../c'], 'invalid_argument', '../c'],
      [[a, `${b}@../s`, c], 'invalid_argument', '../s'],
      [[], 'invalid_argument', 'name a volume'],
    ] as const) {
      const error = await refusal(() => suite.pool.snapshot(references), code);
      expect(error.message).toContain(named);
      expect(await everything(suite.pool)).toEqual(before);
      expect(staged(suite.home)).toEqual([]);
    }
    await refusal(() => suite.pool.snapshot([`${a}@x`, `${b}@y`], { name: 'z' }), 'invalid_argument');
    await refusal(() => suite.pool.snapshot(`${a}@x`, { name: 'z' }), 'invalid_argument');
    await refusal(() => suite.pool.snapshot([a], { name: 'a/b' }), 'invalid_argument');
    expect(await everything(suite.pool)).toEqual(before);
    expect((await suite.pool.snapshot(a, { name: 'z' })).reference).toBe(`${a}@z`);
  });

  needs('groupsInSteps')('are not taken when somebody takes one of the names meanwhile', async () => {
    const [a = '', b = '', c = ''] = await several(suite, 3);
    const place = join(suite.home.path, 'volumes', b, 'snapshots', 's');
    observeCalls((syscall) => {
      if (syscall === 'renameat2') mkdirSync(place, { recursive: true });
      return undefined;
    });
    const error = await refusal(
      () => suite.pool.snapshot([a, b, c], { name: 's' }),
      'already_exists',
    ).finally(() => observeCalls(undefined));
    expect(error.message).toContain(b);
    expect((await suite.pool.listSnapshots(a)).concat(await suite.pool.listSnapshots(c))).toEqual([]);
    rmdirSync(place);
  });

  describe('before they are committed', () => {
    const begun = async (): Promise<{ names: string[]; maker: PausedChild; other: Pool }> => {
      const names = await several(suite, 3);
      const maker = pausedChild({ pool: suite.home.path, call: ['snapshot', names, { name: 's' }] });
      await maker.until(committing);
      return { names, maker, other: await openPool(suite.home.path, { lockTimeout: 0 }) };
    };

    needs('groupsInSteps')('are not there for anybody, and their names are taken', async () => {
      const { names, maker, other } = await begun();
      await using _maker = maker;
      await using pool = other;
      const [name = ''] = names;
      for (const volume of names) {
        expect(await pool.listSnapshots(volume)).toEqual([]);
        expect((await pool.show(volume)).snapshotList).toEqual([]);
      }
      expect(
        (await pool.list()).filter((each) => names.includes(each.name)).map((each) => each.snapshots),
      ).toEqual([0, 0, 0]);
      const all = (await pool.usage()).usages.map((usage) => usage.reference);
      expect(all.filter((reference) => names.some((each) => reference.startsWith(`${each}@`)))).toEqual([]);
      expect(
        (await pool.listSnapshots()).filter(({ reference }) => names.includes(reference.split('@')[0] ?? '')),
      ).toEqual([]);
      expect((await pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
      await refusal(() => pool.snapshot(`${name}@s`), 'busy');
      await refusal(() => pool.rename(name, suite.name()), 'busy');
      await maker.finish();
      for (const volume of names)
        expect((await pool.listSnapshots(volume)).map((each) => each.name)).toEqual(['s']);
    });

    needs('groupsInSteps')(
      'and when their maker dies, never will be, also before a pool is opened again',
      async () => {
        const { names, maker, other } = await begun();
        await using _maker = maker;
        await using pool = other;
        await maker.kill();
        const [a = '', b = '', c = ''] = names;
        await refusal(() => pool.clone(`${a}@s`, suite.name()), 'not_found');
        await refusal(() => pool.diskPath(`${a}@s`), 'not_found');
        await refusal(() => pool.rollback(`${a}@s`), 'not_found');
        await refusal(() => pool.remove(`${a}@s`), 'not_found');
        await pool.snapshot(`${a}@s`);
        const renamed = suite.name();
        await pool.rename(b, renamed);
        await pool.remove(c);
        await using _swept = await openPool(suite.home.path, { inline: true });
        expect((await pool.listSnapshots(a)).map((each) => [each.name, each.group])).toEqual([
          ['s', undefined],
        ]);
        expect(await pool.listSnapshots(renamed)).toEqual([]);
        expect(staged(suite.home)).toEqual([]);
      },
    );
  });

  needs('groupsInSteps')(
    'of a dead maker do not come back with a volume that is renamed while they are cleared up',
    async () => {
      const names = await several(suite, 3);
      await using maker = pausedChild({ pool: suite.home.path, call: ['snapshot', names, { name: 's' }] });
      await maker.until(committing);
      await maker.kill();
      await renameDuringSweep(suite, names[1] ?? '');
    },
  );

  needs('snapshots')('200 at once', async () => {
    const count = 200 * suite.backend.scale;
    const volumes = await several(suite, count);
    const { group, snapshots } = await suite.pool.snapshot(volumes);
    expect(snapshots).toHaveLength(count);
    expect(await membersOf(suite.pool, group)).toHaveLength(count);
    const gone = snapshots.slice(0, count / 2).map((snapshot) => snapshot.reference);
    await suite.pool.remove(gone);
    expect(await membersOf(suite.pool, group)).toEqual(
      snapshots
        .slice(count / 2)
        .map((snapshot) => snapshot.reference)
        .sort(),
    );
    await suite.pool.remove(volumes, { withSnapshots: true });
    expect(await membersOf(suite.pool, group)).toEqual([]);
  });

  needs('groupsInSteps')(
    'that others begin again and again do not keep a list from coming to an end',
    async () => {
      const [a = ''] = await several(suite, 1);
      await suite.pool.snapshot([a]);
      let begun = 0;
      const beginAnother = (): undefined => {
        observeCalls(undefined);
        using root = openRoot(suite.home.path);
        using guard = begun < 100 ? lockPool(root.fd, 'exclusive', false) : undefined;
        if (guard) {
          const marker = { ...root.metadata, lastGroup: `another-${++begun}` };
          writeAttribute(root.fd, poolAttribute, encodeMetadata(marker));
        }
        observeCalls(observe);
      };
      const observe = (syscall: string, subject: string): undefined =>
        // On either way to look through a pool: at each volume, or at many in one call.
        (syscall === 'openat2' && subject === `${a}/snapshots`) || subject === 'TREE_SEARCH_V2'
          ? beginAnother()
          : undefined;
      observeCalls(observe);
      const listed = await suite.pool.list().finally(() => observeCalls(undefined));
      expect(listed.find((volume) => volume.name === a)?.snapshots).toBe(1);
      expect(begun).toBeGreaterThan(0);
      expect(begun).toBeLessThan(100);
    },
  );

  needs('snapshots')('appear and go in one step for another process that looks all the time', async () => {
    await using watcher = await watchGroups(suite.home.path);
    for (let round = 0; round < 12 * suite.backend.scale; round++) {
      const volumes = await several(suite, 12 * suite.backend.scale, `w${round}`);
      await watcher.follows(volumes);
      const { snapshots } = await suite.pool.snapshot(volumes, { durability: 'deferred' });
      await suite.pool.remove(
        snapshots.map((snapshot) => snapshot.reference),
        { durability: 'deferred' },
      );
      await suite.pool.remove(volumes, { durability: 'deferred' });
    }
    const { looks, torn } = await watcher.stop();
    expect(torn).toEqual([]);
    expect(looks).toBeGreaterThan(12 * suite.backend.scale);
  });
});

async function membersOf(pool: Pool, group: string): Promise<string[]> {
  const snapshots = await pool.listSnapshots();
  return snapshots
    .filter((snapshot) => snapshot.group === group)
    .map((snapshot) => snapshot.reference)
    .sort();
}
