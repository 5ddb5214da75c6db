import { afterEach, expect, test, vi } from 'vitest';
import { beginRun } from '../../src/engine/policy/run.ts';
import type { DueVerified } from '../../src/index.ts';
import { refusal } from '../support/errors.ts';
import { insidePool } from '../support/inside-pool.ts';
import { conformance } from './suite.ts';

const hour = 3600 * 1000;
const day = 24 * hour;
/** Later than the real time, which other cases have left in the pool. */
const noon = Date.parse('2046-11-21T12:00:00Z');

afterEach(() => void vi.useRealTimers());

conformance('proofs by schedule', (suite) => {
  const volumeWith = async (program: string, verify = 'daily'): Promise<string> => {
    const { name } = await suite.volume(4096);
    await suite.pool.set(name, { 'verify.program': program, 'policy.verify': verify });
    return name;
  };
  const verifyAt = (time: number, ...volumes: readonly string[]): Promise<DueVerified> => {
    vi.setSystemTime(time);
    return suite.pool.verifyDue({ volumes });
  };

  test('the newest snapshot is proven once in each period', async () => {
    const { pool } = suite;
    const name = await volumeWith('/usr/bin/true');
    expect(await verifyAt(noon, name)).toEqual({ due: [], verified: [], failed: [] });
    await pool.snapshot(`${name}@a`);
    await pool.snapshot(`${name}@b`);
    expect(await pool.verifyDue({ volumes: [name], dryRun: true })).toMatchObject({ due: [`${name}@b`] });
    expect((await verifyAt(noon + hour, name)).verified).toMatchObject([
      { reference: `${name}@b`, result: 'passed', at: '2046-11-21T13:00:00.000Z' },
    ]);
    await pool.snapshot(`${name}@c`);
    expect((await verifyAt(noon + 2 * hour, name)).due).toEqual([]);
    expect((await verifyAt(noon + day, name)).due).toEqual([`${name}@c`]);
    const known = await pool.listSnapshots(name);
    expect(known.map(({ verified }) => verified?.result)).toEqual([undefined, 'passed', 'passed']);
    expect((await pool.list()).filter(({ name: each }) => each.startsWith('verify-'))).toEqual([]);
  });

  test('a clock that was ahead neither keeps it from being done nor has it done again and again', async () => {
    const { pool } = suite;
    const name = await volumeWith('/usr/bin/true');
    await pool.snapshot(`${name}@a`);
    expect((await verifyAt(noon + 1000 * day, name)).due).toHaveLength(1);
    expect((await verifyAt(noon, name)).due).toHaveLength(1);
    expect((await verifyAt(noon + hour, name)).due).toEqual([]);
  });

  test('what fails is told and stops no other, and what could not be looked at is left for a period', async () => {
    const { pool } = suite;
    const bad = await volumeWith('/usr/bin/false');
    const lost = await volumeWith('/usr/bin/no-such-program', 'hourly');
    const good = await volumeWith('/usr/bin/true');
    for (const name of [bad, lost, good]) await pool.snapshot(`${name}@a`);
    const { verified, failed } = await verifyAt(noon, bad, lost, good);
    expect(new Map(verified.map(({ reference, result }) => [reference, result]))).toEqual(
      new Map([
        [`${bad}@a`, 'failed'],
        [`${good}@a`, 'passed'],
      ]),
    );
    expect(failed).toMatchObject([{ reference: `${lost}@a` }]);
    expect((await verifyAt(noon + hour / 2, bad, lost, good)).due).toEqual([]);
    expect((await verifyAt(noon + hour, bad, lost, good)).due).toEqual([`${lost}@a`]);
    const [snapshot] = await pool.listSnapshots(lost);
    expect(snapshot?.verified, 'nothing is known of it').toBeUndefined();
  });

  test('is done by one process at a time, and does not wait for the application of policies', async () => {
    const { pool, home } = suite;
    const name = await volumeWith('/usr/bin/true');
    await pool.snapshot(`${name}@a`);
    await insidePool(home.path, async (context) => {
      using applying = beginRun(context, 'policy');
      expect(applying).toBeDefined();
      {
        using verifying = beginRun(context, 'verify');
        expect(verifying).toBeDefined();
        expect(await pool.verifyDue({ volumes: [name] })).toMatchObject({ otherRun: true, due: [] });
      }
      expect((await pool.verifyDue({ volumes: [name] })).verified).toHaveLength(1);
    });
  });

  test('is not wanted where nothing says so, of a template, and of what nobody can prove', async () => {
    const { pool } = suite;
    const none = await volumeWith('/usr/bin/true', 'none');
    const { name: unable } = await suite.volume(4096);
    await pool.set(unable, { 'policy.verify': 'daily' });
    for (const name of [none, unable]) await pool.snapshot(`${name}@a`);
    expect((await verifyAt(noon, none, unable)).due).toEqual([]);
    expect(await refusal(() => pool.set(none, { 'policy.verify': '15min' }))).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('hourly, daily'),
    });
    expect(await refusal(() => pool.verifyDue({ volumes: ['never-made'] }))).toMatchObject({
      code: 'not_found',
    });
  });
});
