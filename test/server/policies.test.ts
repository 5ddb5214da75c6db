import { afterAll, beforeAll, expect, test } from 'vitest';
import { Code, connectCoppice } from '../../src/client/index.ts';
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

test('lists policies in pages, and tells what would happen', async () => {
  using client = connectCoppice({ socket: home.socket });
  const { vms } = home.pools;
  const parent = 'pools/vms';
  for (const name of ['p-1', 'p-2', 'p-3']) {
    await vms?.create(name, { bytes: 4096 });
    await client.volumes.updateSettings({
      name: `${parent}/volumes/${name}`,
      set: { 'policy.last': '1', 'policy.schedule': 'hourly' },
    });
  }
  const policies = [];
  for (let pageToken = ''; ; ) {
    const page = await client.pools.listPolicies({ parent, pageSize: 2, pageToken });
    expect(page.policies.length).toBeLessThanOrEqual(2);
    policies.push(...page.policies);
    pageToken = page.nextPageToken;
    if (pageToken === '') break;
  }
  const declared = (await vms?.policies()) ?? [];
  expect(policies.map(({ volume }) => volume)).toEqual(
    declared.map(({ volume }) => `${parent}/volumes/${volume}`),
  );
  expect(policies.find(({ volume }) => volume.endsWith('/p-1'))).toMatchObject({
    settings: { 'policy.last': '1', 'policy.schedule': 'hourly' },
    schedule: 'hourly',
    keeps: 'the last 1',
    snapshotCount: 0,
    due: true,
    problem: '',
  });

  // One by hand stays, of two by the policy the older one goes, and one is due.
  await vms?.snapshot('p-1', { reason: 'policy' });
  await vms?.snapshot('p-1', { reason: 'policy' });
  await vms?.snapshot('p-1@by-hand');
  const volumes = [`${parent}/volumes/p-1`, `${parent}/volumes/p-2`];
  const decisions = [];
  for (let pageToken = ''; ; ) {
    const page = await client.pools.previewPolicies({ parent, volumes, pageSize: 2, pageToken });
    decisions.push(...page.decisions);
    pageToken = page.nextPageToken;
    if (pageToken === '') break;
  }
  const applied = await vms?.applyPolicies({ volumes: ['p-1', 'p-2'], dryRun: true });
  expect(decisions.map(({ goes, reasons }) => ({ goes, reasons }))).toEqual(
    applied?.decisions.map(({ goes, reasons }) => ({ goes, reasons })),
  );
  expect(decisions.filter(({ goes }) => goes)).toHaveLength(1);
  expect(decisions.filter(({ planned }) => planned).map(({ snapshot }) => snapshot)).toEqual([
    expect.stringMatching(/^pools\/vms\/volumes\/p-2\/snapshots\/auto-/),
  ]);
  expect(await vms?.listSnapshots('p-2'), 'nothing was taken').toEqual([]);
  expect(await vms?.listSnapshots('p-1'), 'nothing went').toHaveLength(3);
});

test('of what is not there nothing is foretold', async () => {
  using client = connectCoppice({ socket: home.socket });
  const preview = (volume: string): Promise<unknown> =>
    client.pools.previewPolicies({ parent: 'pools/vms', volumes: [volume] });
  await expect(preview('pools/vms/volumes/nowhere')).rejects.toMatchObject({ code: Code.NotFound });
  await expect(preview('pools/more/volumes/good')).rejects.toMatchObject({ code: Code.InvalidArgument });
});
