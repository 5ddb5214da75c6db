import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type * as Client from '../../src/client/index.ts';
import { builtCommand, repository } from '../support/built.ts';
import { type Daemon, startDaemon } from '../support/built-daemon.ts';
import { patternBytes } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** What is published: `dist/cli.js serve`, and `coppice/client`. */

let served: TestPool;
let daemon: Daemon;
let client: typeof Client;

beforeAll(async () => {
  served = await makeTestPool();
  const image = join(served.scratch, 'image.raw');
  writeFileSync(image, patternBytes(1, 2 ** 20));
  await served.pool.import('base', image);
  daemon = await startDaemon(served.path);
  client = await builtClient();
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await served[Symbol.asyncDispose]();
});

test('clones through the built client, and the command line sees it', async () => {
  using coppice = client.connectCoppice({ socket: daemon.socket });
  const source = client.volumeName('default', 'base');
  const clone = await coppice.volumes.clone({ source, volumeId: 'vm', requestId: 'a' });
  expect(clone).toMatchObject({ name: 'pools/default/volumes/vm', sizeBytes: BigInt(2 ** 20) });
  const disk = await served.pool.diskPath('vm');
  expect(readFileSync(disk)).toEqual(patternBytes(1, 2 ** 20));
  const list = spawnSync(process.execPath, [builtCommand(), 'list', '--pool', served.path, '--json']);
  expect(JSON.parse(String(list.stdout))).toMatchObject([{ name: 'base' }, { name: 'vm' }]);
});

test('the built client knows errors and their details by the same classes', async () => {
  using coppice = client.connectCoppice({ socket: daemon.socket });
  const failure = await coppice.volumes
    .getVolume({ name: client.volumeName('default', 'nothing') })
    .catch((error: unknown) => error);
  if (!(failure instanceof client.ConnectError)) throw failure;
  expect(failure.code).toBe(client.Code.NotFound);
  expect(failure.findDetails(client.ErrorInfoSchema)).toMatchObject([{ reason: 'NOT_FOUND' }]);
});

test('its threads do long work, whole lists, and remember request ids', async () => {
  using coppice = client.connectCoppice({ socket: daemon.socket });
  const job = await coppice.jobs.cloneMany({
    source: client.volumeName('default', 'base'),
    prefix: 'many',
    count: 3,
    requestId: 'b',
  });
  let last = job;
  for await (last of coppice.jobs.watchJob({ name: job.name }));
  expect(last).toMatchObject({ state: client.JobState.SUCCEEDED, result: { value: { clonedCount: 3 } } });
  const { volumes } = await coppice.volumes.listVolumes({ parent: client.poolName('default') });
  expect(volumes.map(({ name }) => name)).toContain('pools/default/volumes/many-3');
  const { findings } = await coppice.pools.diagnose({ name: client.poolName('default') });
  expect(findings.length).toBeGreaterThan(0);
});

test('its threads compare trees, and look at policies', async () => {
  using coppice = client.connectCoppice({ socket: daemon.socket });
  const parent = client.poolName('default');
  const { name } = await coppice.volumes.createVolume({
    parent,
    volumeId: 'tree',
    kind: client.VolumeKind.TREE,
  });
  const { name: before } = await coppice.volumes.snapshot({ parent: name, snapshotId: 'before' });
  const { path } = await coppice.volumes.updateSettings({ name, set: { 'policy.daily': '7' } });
  writeFileSync(join(path, 'new'), '');
  const told = await Array.fromAsync(coppice.volumes.diffSnapshots({ before }));
  expect(told.flatMap(({ changes }) => changes)).toMatchObject([{ path: 'new' }]);
  const { policies } = await coppice.pools.listPolicies({ parent });
  expect(policies).toMatchObject([{ volume: name, due: true }]);
  const { decisions } = await coppice.pools.previewPolicies({ parent });
  expect(decisions.filter(({ planned }) => planned)).toHaveLength(1);
  await coppice.volumes.deleteVolume({ name, withSnapshots: true });
});

test('the first page of a list has what others have made just now, also under a name that was touched here', async () => {
  using coppice = client.connectCoppice({ socket: daemon.socket });
  const parent = client.poolName('default');
  for (const name of ['late-1', 'late-2', 'late-3']) {
    const late = client.volumeName('default', name);
    await coppice.volumes.deleteVolume({ name: late, allowMissing: true });
    await served.pool.clone('base', name);
    const { volumes } = await coppice.volumes.listVolumes({ parent });
    expect(volumes.map((volume) => volume.name)).toContain(late);
  }
});

test('ends with exit code 0 when it is told to, and takes its socket away', async () => {
  expect(await daemon.end()).toEqual({ code: 0, signal: null });
  expect(daemon.log()).toContain('"stopped"');
  expect(existsSync(daemon.socket)).toBe(false);
});

test('says in a sentence what is wrong with its flags', () => {
  const { status, stderr } = spawnSync(process.execPath, [builtCommand(), 'serve', '--socket-scope', 'all'], {
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([2, 'coppice: --socket-scope: "all" is none of read, write, admin.\n']);
});

/** By its name, as another project would import it. */
async function builtClient(): Promise<typeof Client> {
  builtCommand();
  const project = scratchDirectory('project');
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(repository, join(project, 'node_modules/coppice'));
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }\n');
  writeFileSync(join(project, 'client.js'), "export * from 'coppice/client';\n");
  return (await import(/* @vite-ignore */ join(project, 'client.js'))) as typeof Client;
}
