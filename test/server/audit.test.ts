import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Daemon, daemonPlace, postJson, startDaemon } from '../support/daemon.ts';
import { scratchDirectory } from '../support/devices.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Who changed what, when, with what result: of the daemon, and of others beside it. */

const place = daemonPlace();
let home: TestPool;
let daemon: Daemon;

beforeAll(async () => {
  home = await makeTestPool();
  daemon = await startDaemon({ p: home.path }, place);
  await daemon.said('pool available');
});
afterAll(async () => {
  await daemon.stop();
  await home[Symbol.asyncDispose]();
});

function lines(path: string = place.auditLog): Array<Record<string, unknown>> {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('each change is one line with who, what and how it ended, and no look is any', async () => {
  const { volumes } = daemon.client;
  const options = { headers: { 'x-request-id': 'trace-1' } };
  await volumes.createVolume({ parent: 'pools/p', volumeId: 'a', sizeBytes: 4096n }, options);
  await volumes.getVolume({ name: 'pools/p/volumes/a' });
  await volumes.snapshot({ parent: 'pools/p/volumes/a', snapshotId: 's' });
  await volumes.deleteVolume({ name: 'pools/p/volumes/a', validateOnly: true });
  await volumes.deleteVolume({ name: 'pools/p/volumes/a' }).catch(() => {});
  await volumes.deleteVolume({ name: 'pools/p/volumes/a', withSnapshots: true });
  const found = lines();
  expect(found.map(({ operation, outcome }) => [operation, outcome])).toEqual([
    ['create', 'ok'],
    ['snapshot', 'ok'],
    ['remove', 'blocked'],
    ['remove', 'ok'],
  ]);
  expect(found[0]).toMatchObject({
    pool: home.path,
    names: ['a'],
    program: 'daemon',
    principal: 'uid:0',
    requestId: 'trace-1',
    uid: 0,
    pid: daemon.pid,
  });
  for (const { time } of found) expect(new Date(String(time)).toISOString()).toBe(time);
});

test('a pool that grows and an export are in it, by whom and how', async () => {
  const { pools, volumes, jobs } = daemon.client;
  const from = lines().length;
  await volumes.createVolume({ parent: 'pools/p', volumeId: 'exported', sizeBytes: 4096n });
  const { previousSizeBytes, sizeBytes } = await pools.growPool({
    name: 'pools/p',
    sizeBytes: BigInt(9 * 2 ** 30),
  });
  expect(sizeBytes).toBeGreaterThan(previousSizeBytes);
  await expect(pools.growPool({ name: 'pools/p', sizeBytes: 4096n })).rejects.toThrow();
  const targetPath = join(scratchDirectory('export'), 'out.raw');
  const { name } = await jobs.exportVolume({ name: 'pools/p/volumes/exported', targetPath });
  for await (const { error } of jobs.watchJob({ name })) expect(error).toBeUndefined();
  expect(lines().slice(from)).toMatchObject([
    { operation: 'create', outcome: 'ok' },
    { operation: 'growPool', outcome: 'ok', program: 'daemon', principal: 'uid:0' },
    { operation: 'growPool', outcome: 'invalid_argument' },
    { operation: 'export', outcome: 'ok', principal: 'uid:0', arguments: ['exported', targetPath, {}] },
  ]);
});

test('what is set, held and released is in it, by whom', async () => {
  const { volumes } = daemon.client;
  const from = lines().length;
  await volumes.createVolume({ parent: 'pools/p', volumeId: 'kept', sizeBytes: 4096n });
  const name = 'pools/p/volumes/kept';
  await volumes.updateSettings({ name, set: { 'policy.daily': '7' } });
  await expect(volumes.updateSettings({ name, set: { 'policy.daily': 'often' } })).rejects.toThrow();
  const { name: snapshot } = await volumes.snapshot({ parent: name, snapshotId: 's' });
  await volumes.holdSnapshot({ name: snapshot, reason: 'audit' });
  await volumes.deleteSnapshot({ name: snapshot }).catch(() => {});
  await volumes.releaseSnapshot({ name: snapshot });
  const who = { program: 'daemon', principal: 'uid:0', names: ['kept'] };
  expect(lines().slice(from)).toMatchObject([
    { ...who, operation: 'create' },
    { ...who, operation: 'set', outcome: 'ok', arguments: ['kept', { 'policy.daily': '7' }] },
    { ...who, operation: 'set', outcome: 'invalid_argument' },
    { ...who, operation: 'snapshot' },
    { ...who, operation: 'hold', outcome: 'ok', arguments: [['kept@s'], { reason: 'audit' }] },
    { ...who, operation: 'remove', outcome: 'blocked' },
    { ...who, operation: 'release', outcome: 'ok' },
  ]);
});

test('what a library does beside it is in it, too; and a log that was moved away goes on in a new one', async () => {
  const { openPool } = await import('../../src/index.ts');
  await using other = await openPool(home.path, {
    auditLog: place.auditLog,
    program: 'library',
    inline: true,
  });
  await other.create('b', { bytes: 4096 });
  expect(lines().at(-1)).toMatchObject({
    operation: 'create',
    names: ['b'],
    program: 'library',
    pid: process.pid,
  });
  const moved = `${place.auditLog}.1`;
  renameSync(place.auditLog, moved);
  const before = lines(moved).length;
  // Writers look for the new one once a second.
  for (let number = 0; !existsSync(place.auditLog); number++)
    await postJson(place.socket, 'coppice.v1.VolumeService/CreateVolume', {
      parent: 'pools/p',
      volumeId: `c-${number}`,
      sizeBytes: '4096',
    });
  const last = lines().at(-1)?.['names'];
  expect(lines(moved).length + lines().length).toBeGreaterThan(before);
  const { volumes } = await daemon.client.volumes.listVolumes({ parent: 'pools/p', pageSize: 1000 });
  const names = volumes.map(({ name }) => name.split('/').at(-1));
  expect(names).toContain(String((last as string[])[0]));
  // Not one of them is missing in both.
  const told = [...lines(moved), ...lines()].flatMap((line) => line['names'] as string[]);
  expect(names.filter((name) => name?.startsWith('c-') && !told.includes(name))).toEqual([]);
});
