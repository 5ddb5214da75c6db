import { openSync, writeSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { prune } from '../../src/engine/policy/prune.ts';
import type { KnownSnapshot } from '../../src/engine/policy/rules/situation.ts';
import { beginRun } from '../../src/engine/policy/run.ts';
import type { PoliciesApplied, Pool, SnapshotSummary } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { patternBytes } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { insidePool, remark } from '../support/inside-pool.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;
const minute = 60 * 1000;
const hour = 60 * minute;
const day = 24 * hour;
/** Later than the real time, which other cases have left in the pool. */
const noon = Date.parse('2046-11-21T12:00:00Z');
const quiet = { signal: undefined, report: () => {} };

afterEach(() => void vi.useRealTimers());

/** Only the clock of this process, in which pools run their operations here. */
const setClock = (time: number): void => void vi.setSystemTime(time);

conformance('policies', (suite) => {
  const names = (snapshots: readonly SnapshotSummary[]): string[] => snapshots.map(({ name }) => name);
  const apply = (volume: string, pool: Pool = suite.pool): Promise<PoliciesApplied> =>
    pool.applyPolicies({ volumes: [volume] });
  const applyAt = (time: number, volume: string): Promise<PoliciesApplied> => {
    setClock(time);
    return apply(volume);
  };
  const volumeWith = async (
    settings: Readonly<Record<string, string>>,
  ): Promise<{ name: string; path: string }> => {
    const volume = await suite.volume(4096);
    const own = Object.entries(settings).map(([name, value]) => [`policy.${name}`, value]);
    await suite.pool.set(volume.name, Object.fromEntries(own));
    return volume;
  };

  test('take a snapshot in each hour, and keep as many as they say', async () => {
    const { name } = await volumeWith({ hourly: '3', daily: '2' });
    const all: PoliciesApplied[] = [];
    const hours = Math.max(7, 30 * suite.backend.scale);
    const begin = noon + (18 - hours) * hour;
    for (let time = begin; time < begin + hours * hour; time += 30 * minute)
      all.push(await applyAt(time, name));
    expect(all.flatMap(({ taken }) => taken)).toHaveLength(hours);
    expect(all.flatMap(({ removed }) => removed)).toHaveLength(hours - 4);
    for (const each of all) expect([each.failed, each.putOff, each.warnings]).toEqual([[], [], []]);
    const left = await suite.pool.listSnapshots(name);
    expect(names(left)).toEqual([
      'auto-20461121-230000',
      'auto-20461122-030000',
      'auto-20461122-040000',
      'auto-20461122-050000',
    ]);
    for (const each of left) expect(each).toMatchObject({ reason: 'policy', consistency: 'sync' });
  });

  test('say beforehand what they would do, and then do just that', async () => {
    const { name } = await volumeWith({ hourly: '2' });
    for (let time = noon; time < noon + 3 * hour; time += hour) {
      setClock(time);
      const before = await suite.pool.listSnapshots(name);
      const said = await suite.pool.applyPolicies({ volumes: [name], dryRun: true });
      expect(await suite.pool.listSnapshots(name)).toEqual(before);
      const done = await apply(name);
      expect(done.taken.map(({ reference }) => reference)).toEqual(
        said.taken.map(({ reference }) => reference),
      );
      expect(done.removed).toEqual(said.removed);
      expect(done.decisions.map(({ reference, goes }) => [reference, goes])).toEqual(
        said.decisions.map(({ reference, goes }) => [reference, goes]),
      );
    }
    expect(await suite.pool.applyPolicies({ volumes: [name], dryRun: true })).toMatchObject({
      taken: [],
      removed: [],
    });
  });

  test('leave alone what they have not made, what is held, and the newest that was proven', async () => {
    const { pool, home } = suite;
    const { name } = await volumeWith({ last: '1', schedule: 'hourly' });
    setClock(noon);
    await pool.snapshot(`${name}@mine`);
    for (const index of [1, 2, 3, 4, 5]) {
      setClock(noon + index * minute);
      await pool.snapshot(`${name}@p-${index}`);
      await remark(home.path, `${name}@p-${index}`, (metadata) => ({ ...metadata, reason: 'policy' }));
    }
    const { undo } = await pool.rollback(`${name}@mine`);
    await pool.hold([`${name}@p-1`], { reason: 'for the auditors' });
    const prove = (index: number, result: 'passed' | 'failed'): Promise<void> =>
      remark(home.path, `${name}@p-${index}`, (metadata) => ({
        ...metadata,
        verified: { at: new Date().toISOString(), result, checks: [{ name: 'starts', result }] },
      }));
    for (const index of [2, 3]) await prove(index, 'passed');
    await prove(4, 'failed');
    const applied = await applyAt(noon + hour, name);
    expect(applied.removed.map(({ reference }) => reference)).toEqual(
      ['p-2', 'p-4', 'p-5'].map((each) => `${name}@${each}`),
    );
    const left = await pool.listSnapshots(name);
    expect(names(left)).toEqual(['mine', 'p-1', 'p-3', undo?.split('@')[1], 'auto-20461121-130000']);
    expect(left[1]?.hold).toEqual({ at: expect.any(String), reason: 'for the auditors' });
    expect(left[2]?.verified?.result).toBe('passed');
    const reasons = new Map(applied.decisions.map((each) => [each.name, each.reasons.join()]));
    expect(reasons.get('p-1')).toBe('held: for the auditors');
    expect(reasons.get('p-3')).toBe('newest verified');
    await pool.release(`${name}@p-1`);
    expect((await apply(name)).removed.map(({ reference }) => reference)).toEqual([`${name}@p-1`]);
  });

  test('a hold keeps a snapshot from everybody, and a volume with it', async () => {
    const { pool } = suite;
    const { name } = await suite.volume(4096);
    await pool.snapshot([`${name}@a`, `${name}@b`].slice(0, 1));
    expect(await pool.hold(`${name}@a`, { reason: 'first' })).toEqual([
      { reference: `${name}@a`, hold: { at: expect.any(String), reason: 'first' } },
    ]);
    const [again] = await pool.hold(`${name}@a`);
    expect(again).toMatchObject({ hold: { reason: 'first' }, unchanged: true });
    const refused = await refusal(() => pool.remove(`${name}@a`, { force: true }), 'blocked');
    expect(refused.message).toContain(`release it with "coppice release ${name}@a"`);
    await refusal(() => pool.remove(name, { withSnapshots: true, force: true }), 'blocked');
    expect((await pool.remove(`${name}@a`, { dryRun: true })).blockers?.[0]?.kind).toBe('held');
    await refusal(() => pool.hold(`${name}@b`), 'not_found');
    await refusal(() => pool.hold(name), 'invalid_argument');
    for (const reason of ['', 'two\nlines', '\u001b[2J', 'x'.repeat(201)])
      await refusal(() => pool.hold(`${name}@a`, { reason }), 'invalid_argument');
    await pool.release(`${name}@a`);
    expect(await pool.release(`${name}@a`)).toEqual([{ reference: `${name}@a`, unchanged: true }]);
    await pool.remove(name, { withSnapshots: true });
  });

  test('remove what has expired, whoever has taken it, when it was long enough there', async () => {
    const { pool } = suite;
    const { name } = await suite.volume(4096);
    setClock(noon);
    const expires = new Date(noon + 3 * day).toISOString();
    await pool.snapshot(`${name}@short`, { expires });
    await pool.snapshot(`${name}@long`);
    await refusal(() => pool.snapshot(name, { expires: 'soon' }), 'invalid_argument');
    for (let at = noon; at < noon + 3 * day; at += 12 * hour)
      expect((await applyAt(at, name)).removed).toEqual([]);
    expect((await pool.listSnapshots(name))[0]?.expires).toBe(expires);
    const { removed } = await applyAt(noon + 3 * day + 12 * hour, name);
    expect(removed).toEqual([{ reference: `${name}@short`, reason: 'expired 2046-11-24T12:00Z' }]);
    expect(names(await pool.listSnapshots(name))).toEqual(['long']);
  });

  test('of a group that was taken together remove all in one step, or none', async () => {
    const { pool } = suite;
    const [a, b] = [await suite.volume(4096), await suite.volume(4096)];
    setClock(noon);
    const expires = new Date(noon + hour).toISOString();
    await pool.snapshot([a.name, b.name], { name: 'g', expires });
    await pool.hold(`${a.name}@g`);
    const both = { volumes: [a.name, b.name] };
    setClock(noon + day);
    await pool.applyPolicies(both);
    setClock(noon + 2 * day + hour);
    const kept = await pool.applyPolicies(both);
    expect(kept.removed).toEqual([]);
    expect(kept.decisions.find(({ volume }) => volume === b.name)?.reasons).toEqual([
      `taken together with ${a.name}@g, which stays`,
    ]);
    await pool.release(`${a.name}@g`);
    expect((await apply(b.name)).removed).toEqual([]);
    expect((await pool.applyPolicies(both)).removed).toHaveLength(2);
    expect(await pool.listSnapshots(a.name)).toEqual([]);
  });

  test('are followed by one at a time: who comes meanwhile does nothing', async () => {
    const { name } = await volumeWith({ hourly: '2' });
    setClock(noon);
    await insidePool(suite.home.path, async (context) => {
      using run = beginRun(context);
      expect(run).toBeDefined();
      expect(await apply(name)).toMatchObject({ otherRun: true, taken: [], decisions: [] });
    });
    const other = await suite.home.reopen();
    const both = await Promise.all([apply(name), apply(name, other), apply(name), apply(name, other)]);
    expect(both.flatMap(({ taken }) => taken)).toHaveLength(1);
    expect(await suite.pool.listSnapshots(name)).toHaveLength(1);
  });

  test('of one volume fail without the others, take nothing weaker, and then remove nothing of it', async () => {
    const { pool } = suite;
    const [bad, good] = [
      await volumeWith({ last: '1', schedule: 'hourly' }),
      await volumeWith({ hourly: '1' }),
    ];
    for (const time of [noon, noon + minute]) {
      setClock(time);
      const { name: taken } = await pool.snapshot(bad.name);
      await remark(suite.home.path, `${bad.name}@${taken}`, (metadata) => ({
        ...metadata,
        reason: 'policy',
      }));
    }
    await pool.set(bad.name, { consistency: 'application' });
    setClock(noon + hour);
    const { taken, failed, removed } = await pool.applyPolicies({ volumes: [bad.name, good.name] });
    expect(taken.map(({ volume }) => volume)).toEqual([good.name]);
    expect(failed).toMatchObject([{ reference: bad.name, error: { code: 'invalid_argument' } }]);
    expect(failed[0]?.error.message).toContain('No application is declared');
    expect(removed).toEqual([]);
    expect(await pool.listSnapshots(bad.name)).toHaveLength(2);
  });

  test('that nobody understands are refused when they are set, and remove nothing when somebody else has written them', async () => {
    const { name } = await volumeWith({ hourly: '1' });
    for (const wrong of [{ 'policy.hourly': 'many' }, { 'policy.dayly': '3' }, { 'policy.schedule': '7min' }])
      await refusal(() => suite.pool.set(name, wrong), 'invalid_argument');
    for (const time of [noon, noon + hour]) await applyAt(time, name);
    await insidePool(suite.home.path, (context) => {
      const held = context.driver.hold({ area: 'volumes', name: name as never }, 'exclusive', true);
      if (typeof held === 'string') throw new Error(held);
      using volume = held;
      const metadata = context.driver.read(volume);
      if (metadata?.type !== 'volume') throw new Error('no volume');
      context.driver.write(volume, { ...metadata, settings: { 'policy.hourly': '1', 'policy.newer': 'x' } });
    });
    const { failed, removed, taken } = await applyAt(noon + 5 * hour, name);
    expect([removed, taken]).toEqual([[], []]);
    expect(failed[0]?.error.message).toContain('policy.newer');
    const [policy] = (await suite.pool.policies()).filter(({ volume }) => volume === name);
    expect(policy?.problem?.code).toBe('invalid_argument');
    await suite.pool.set(name, { 'policy.newer': null });
  });

  test('never fail on what others did meanwhile, and leave alone what is another one now', async () => {
    const { pool, home } = suite;
    const { name } = await suite.volume(4096);
    const known: Record<string, KnownSnapshot> = {};
    for (const each of ['gone', 'other', 'held', 'proven', 'same', 'last']) {
      const { id } = await pool.snapshot(`${name}@${each}`);
      known[each] = { id, reason: 'policy', created: noon, generation: 1n };
    }
    await pool.remove([`${name}@gone`, `${name}@other`]);
    await pool.snapshot(`${name}@other`);
    await pool.hold(`${name}@held`);
    await remark(home.path, `${name}@proven`, (metadata) => ({
      ...metadata,
      verified: { at: 'now', result: 'passed', checks: [] },
    }));
    const doomed = Object.entries(known).map(([each, about]) => ({
      decision: { volume: name, name: each, goes: true, reasons: [] },
      known: about,
    }));
    const pruned = await insidePool(home.path, (context) => prune(context, doomed, quiet));
    expect(pruned).toEqual({
      removed: [`${name}@last`, `${name}@same`],
      putOff: [],
      failed: [],
      warnings: [],
    });
    expect(names(await pool.listSnapshots(name)).sort()).toEqual(['held', 'other', 'proven']);
    await pool.release(`${name}@held`);
    await pool.remove(name, { withSnapshots: true });
    const lost = await insidePool(home.path, (context) => prune(context, doomed, quiet));
    expect([lost.removed, lost.failed, lost.putOff]).toEqual([[], [], []]);
  });

  test('put off what somebody has open, and remove the others', async () => {
    const { pool } = suite;
    const { name } = await volumeWith({ last: '1', schedule: 'hourly' });
    const settings = { 'policy.last': '9' };
    await pool.set(name, settings);
    for (let index = 0; index < 4; index++) await applyAt(noon + index * hour, name);
    await pool.set(name, { 'policy.last': '1' });
    const [, second] = await pool.listSnapshots(name);
    const reference = second?.reference ?? '';
    {
      using _open = new Descriptor(openSync(await pool.diskPath(reference), 'r'));
      const { putOff, removed, failed } = await apply(name);
      expect(failed).toEqual([]);
      expect(removed).toHaveLength(2);
      expect(putOff).toEqual([{ reference, message: expect.stringContaining(`process ${process.pid}`) }]);
    }
    expect((await apply(name)).removed.map((each) => each.reference)).toEqual([reference]);
  });

  test('with clocks that jump lose nothing for its age', async () => {
    // What other cases have left in the pool is of a time before this.
    const begin = noon + 3650 * day;
    const { name } = await volumeWith({ schedule: 'hourly', 'max-age': '2d' });
    for (let time = begin; time < begin + day; time += 6 * hour) await applyAt(time, name);
    const before = names(await suite.pool.listSnapshots(name));
    for (const jump of [54 * 365 * day, -(begin + day), 30 * day, day])
      expect((await applyAt(begin + day + jump, name)).removed, String(jump)).toEqual([]);
    expect(names(await suite.pool.listSnapshots(name))).toEqual(expect.arrayContaining(before));
    const end = begin + 6 * day;
    for (let time = end - 3 * day; time <= end; time += 6 * hour) await applyAt(time, name);
    const left = await suite.pool.listSnapshots(name);
    expect(names(left).filter((each) => before.includes(each))).toEqual([]);
    const fresh = left
      .map(({ created = '' }) => Date.parse(created))
      .filter((created) => created > end - 2 * day);
    expect(fresh).toEqual(expect.arrayContaining([end, end - 6 * hour, end - 42 * hour]));
  });

  test('remove what they keep only as long as there is too little space', async () => {
    const { pool } = suite;
    const size = 64 * MiB;
    const { name, path } = await suite.volume(size);
    await pool.set(name, { 'policy.hourly': '24', 'policy.keep-at-least': '2' });
    for (let index = 0; index < 6; index++) {
      using disk = new Descriptor(openSync(path, 'r+'));
      writeSync(disk.fd, patternBytes(index + 1, size), 0, size, 0);
      await applyAt(noon + index * hour, name);
    }
    await pool.sync();
    const all = names(await pool.listSnapshots(name));
    const { freeBytes } = (await pool.vitals()).space;
    // Two of them are just not enough, three are.
    await pool.set(name, { 'policy.min-free': String(freeBytes + 2.5 * size) });
    const said = await pool.applyPolicies({ volumes: [name], dryRun: true });
    expect(said.removed).toEqual([]);
    expect(said.underPressure).toEqual(all.slice(0, 4).map((each) => `${name}@${each}`));
    const done = await apply(name);
    expect(done.removed.map(({ reference }) => reference)).toEqual(
      all.slice(0, 3).map((each) => `${name}@${each}`),
    );
    expect((await apply(name)).removed).toEqual([]);
    await pool.set(name, { 'policy.min-free': '99%' });
    expect((await apply(name)).removed).toHaveLength(1);
    expect(names(await pool.listSnapshots(name))).toEqual(all.slice(4));
  });

  test('keep a snapshot that storage would only hide, because a clone depends on it', async () => {
    const { pool } = suite;
    const { name } = await volumeWith({ last: '1', schedule: 'hourly' });
    const { taken } = await applyAt(noon, name);
    const clone = suite.name('clone');
    await pool.clone(taken[0]?.reference ?? '', clone);
    const { removed, decisions } = await applyAt(noon + hour, name);
    if (suite.backend.name === 'zfs') {
      expect(removed).toEqual([]);
      expect(decisions[0]?.reasons.join()).toContain(`needed by`);
      await pool.remove(clone);
      expect((await apply(name)).removed).toHaveLength(1);
    } else expect(removed).toHaveLength(1);
  });

  test('can be cancelled between two volumes, and go on the next time', async () => {
    const volumes = [];
    for (let index = 0; index < 4; index++) volumes.push((await volumeWith({ hourly: '1' })).name);
    setClock(noon);
    const controller = new AbortController();
    const onProgress = (): void => void setImmediate(() => controller.abort());
    const { signal } = controller;
    const first = await suite.pool.applyPolicies({ volumes, signal, onProgress });
    expect(first.cancelled).toBe(true);
    expect(first.taken.length).toBeLessThan(4);
    const second = await suite.pool.applyPolicies({ volumes });
    expect(second.taken.length + first.taken.length).toBe(4);
  });

  test('are told with what they have done', async () => {
    const { name } = await volumeWith({ hourly: '24', daily: '7', 'max-age': '90d' });
    const mine = async (): Promise<unknown> =>
      (await suite.pool.policies()).find(({ volume }) => volume === name);
    setClock(noon);
    const settings = { 'policy.hourly': '24', 'policy.daily': '7', 'policy.max-age': '90d' };
    const fixed = { volume: name, settings, schedule: 'hourly', keeps: '24 hourly, 7 daily' };
    expect(await mine()).toEqual({ ...fixed, snapshots: 0, isDue: true });
    await apply(name);
    expect(await mine()).toEqual({
      ...fixed,
      snapshots: 1,
      newest: '2046-11-21T12:00:00.000Z',
      isDue: false,
    });
    await refusal(() => suite.pool.applyPolicies({ volumes: ['never-made'] }), 'not_found');
    expect((await suite.pool.policies()).every(({ volume }) => volume !== 'never-made')).toBe(true);
  });
});
