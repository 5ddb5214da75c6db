import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectCoppice } from '../../src/client/index.ts';
import { beginRun } from '../../src/engine/policy/run.ts';
import { insidePool } from '../support/inside-pool.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

/** The test says when it is time. */
let tick: (() => Promise<void>) | undefined;
let verify: (() => Promise<void>) | undefined;
let home: TestServer;

beforeAll(async () => {
  home = await startTestServer({
    pools: ['vms', 'more'],
    policyTicker: (run) => {
      tick = run;
      return {
        [Symbol.dispose]: () => {
          tick = undefined;
        },
      };
    },
    verifyTicker: (run) => {
      verify = run;
      return { [Symbol.dispose]() {} };
    },
  });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  expect(tick, 'the ticker ends with the server').toBeUndefined();
});

const told = (message: string): Array<Readonly<Record<string, unknown>>> =>
  home.takeLog().filter((line) => line['message'] === message);

test('applies the policies of all its pools, tells what it did, and shows it at once', async () => {
  const { vms, more } = home.pools;
  for (const pool of [vms, more]) {
    await pool?.create('disk', { bytes: 4096 });
    await pool?.set('disk', { 'policy.hourly': '2' });
  }
  home.takeLog();
  await tick?.();
  for (const pool of [vms, more])
    expect(await pool?.listSnapshots('disk')).toMatchObject([{ reason: 'policy' }]);
  expect(told('policies applied').map(({ pool, taken }) => [pool, taken])).toEqual([
    ['vms', 1],
    ['more', 1],
  ]);
  using client = connectCoppice({ socket: home.socket });
  const { snapshots } = await client.volumes.listSnapshots({ parent: 'pools/vms/volumes/disk' });
  expect(snapshots).toHaveLength(1);
  expect(snapshots[0]?.name).toMatch(/\/snapshots\/auto-\d{8}-\d{6}$/);
});

test('does nothing while another process does it, nor when nothing is due', async () => {
  const { vms } = home.pools;
  await vms?.create('other', { bytes: 4096 });
  await vms?.set('other', { 'policy.hourly': '2' });
  await insidePool(vms?.path ?? '', async (context) => {
    using run = beginRun(context);
    expect(run).toBeDefined();
    await tick?.();
  });
  expect(await vms?.listSnapshots('other')).toEqual([]);
  await tick?.();
  await tick?.();
  expect(await vms?.listSnapshots('other')).toHaveLength(1);
});

test('tells what fails, and goes on with the next', async () => {
  const { vms, more } = home.pools;
  await vms?.create('bad', { bytes: 4096 });
  await vms?.set('bad', { 'policy.hourly': '2', consistency: 'application' });
  await more?.create('good', { bytes: 4096 });
  await more?.set('good', { 'policy.hourly': '2' });
  home.takeLog();
  await tick?.();
  expect(told('policy failed')).toMatchObject([{ level: 'error', pool: 'vms', reference: 'bad' }]);
  expect(await more?.listSnapshots('good')).toHaveLength(1);
  expect(await vms?.listSnapshots('bad')).toEqual([]);
});

test('proves what is due, and tells what can not be relied on', async () => {
  const { vms, more } = home.pools;
  for (const [pool, program] of [
    [vms, '/usr/bin/false'],
    [more, '/usr/bin/true'],
  ] as const) {
    await pool?.create('proven', { bytes: 4096 });
    await pool?.set('proven', { 'policy.verify': 'daily', 'verify.program': program });
    await pool?.snapshot('proven@a');
  }
  home.takeLog();
  await verify?.();
  const lines = home.takeLog();
  expect(lines.filter(({ message }) => message === 'snapshot verified')).toMatchObject([
    { pool: 'more', reference: 'proven@a' },
  ]);
  expect(lines.filter(({ message }) => message === 'snapshot can not be relied on')).toMatchObject([
    { level: 'error', pool: 'vms', reference: 'proven@a', failed: 'program' },
  ]);
});
