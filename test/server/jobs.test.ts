import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CoppiceClient, ImageFormat, type Job, JobState } from '../../src/client/index.ts';
import { writePattern } from '../support/content.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { scratchDirectory, sparseFile } from '../support/devices.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Long work: told as it goes, cancelled for real, known after a restart, and after a crash told as interrupted with nothing left of it. */

const MiB = 2 ** 20;
const place = daemonPlace();
const parent = 'pools/p';
const images = scratchDirectory('images');
const small = join(images, 'small.raw');
const large = join(images, 'large.raw');
let home: TestPool;
let daemon: Daemon;

beforeAll(async () => {
  sparseFile(8 * MiB, small);
  writePattern(small, 1, 0, 2 * MiB);
  // Data everywhere, so that it takes long to copy.
  sparseFile(1024 * MiB, large);
  for (let at = 0; at < 1024; at += 64) writePattern(large, at + 1, at * MiB, 64 * MiB);
  home = await makeTestPool();
  daemon = await start();
});
afterAll(async () => {
  expect(await daemon.stop()).toBe(0);
  await home[Symbol.asyncDispose]();
});

async function start(): Promise<Daemon> {
  const started = await startDaemon({ p: home.path }, place);
  await started.said('pool available');
  return started;
}

async function ended(
  { jobs }: CoppiceClient,
  { name }: Pick<Job, 'name'>,
): Promise<{ last: Job; steps: string[] }> {
  const steps: string[] = [];
  let last: Job | undefined;
  for await (const job of jobs.watchJob({ name })) {
    last = job;
    steps.push(job.progress?.step ?? '');
  }
  if (!last) throw new Error('The watch told nothing.');
  return { last, steps };
}

test('an import is told as it goes, and its result is known after a restart and a crash', async () => {
  const started = await daemon.client.jobs.importTemplate({ parent, volumeId: 'small', sourcePath: small });
  expect(started).toMatchObject({ method: 'ImportTemplate', state: JobState.RUNNING, creator: 'uid:0' });
  const { last } = await ended(daemon.client, started);
  expect(last).toMatchObject({
    state: JobState.SUCCEEDED,
    result: {
      case: 'importTemplate',
      value: { volume: `${parent}/volumes/small`, sizeBytes: BigInt(8 * MiB), format: ImageFormat.RAW },
    },
  });
  expect(last.endTime).toBeDefined();
  await daemon.kill();
  daemon = await start();
  expect(await daemon.client.jobs.getJob({ name: started.name })).toEqual(last);
  await daemon.stop();
  daemon = await start();
  const { jobs } = await daemon.client.jobs.listJobs({ parent });
  // Of many, results would be too much.
  expect(jobs).toEqual([{ ...last, result: { case: undefined } }]);
});

test('what fails is told as a method would fail', async () => {
  const { jobs } = daemon.client;
  const taken = await ended(
    daemon.client,
    await jobs.importTemplate({ parent, volumeId: 'small', sourcePath: small }),
  );
  expect(taken.last).toMatchObject({
    state: JobState.FAILED,
    error: { code: Code.AlreadyExists, info: { reason: 'ALREADY_EXISTS' } },
    result: { case: undefined },
  });
  const missing = await ended(
    daemon.client,
    await jobs.importTemplate({ parent, volumeId: 'm', sourcePath: '/nowhere.raw' }),
  );
  expect(missing.last.state).toBe(JobState.FAILED);
  expect(missing.last.error?.message).toContain('/nowhere.raw');
});

test('cancel really cancels: nothing is left, and its answer comes when that is so', async () => {
  const { jobs } = daemon.client;
  const started = await jobs.importTemplate({ parent, volumeId: 'large', sourcePath: large });
  await underWay(started);
  const cancelled = await jobs.cancelJob({ name: started.name });
  expect(cancelled).toMatchObject({ state: JobState.CANCELLED, error: { code: Code.Canceled } });
  expect((await home.pool.list()).map(({ name }) => name)).not.toContain('large');
  expect(readdirSync(join(home.path, '.staging'))).toEqual([]);
  // Once more changes nothing.
  expect(await jobs.cancelJob({ name: started.name })).toEqual(cancelled);
});

test('a crash interrupts it, and nothing is left', async () => {
  const started = await daemon.client.jobs.importTemplate({ parent, volumeId: 'large', sourcePath: large });
  await underWay(started);
  await daemon.kill();
  daemon = await start();
  const job = await daemon.client.jobs.getJob({ name: started.name });
  expect(job).toMatchObject({
    state: JobState.INTERRUPTED,
    error: { code: Code.Aborted, info: { reason: 'INTERRUPTED' } },
  });
  expect((await home.pool.list()).map(({ name }) => name)).not.toContain('large');
  expect(readdirSync(join(home.path, '.staging'))).toEqual([]);
});

test('a stop interrupts it, too', async () => {
  const started = await daemon.client.jobs.importTemplate({ parent, volumeId: 'large', sourcePath: large });
  await underWay(started);
  expect(await daemon.stop()).toBe(0);
  expect(readdirSync(join(home.path, '.staging'))).toEqual([]);
  daemon = await start();
  expect((await daemon.client.jobs.getJob({ name: started.name })).state).toBe(JobState.INTERRUPTED);
});

test('many clones of which none can be made have failed, and a retry is told how the job is now', async () => {
  const { jobs } = daemon.client;
  const request = { source: `${parent}/volumes/nowhere`, prefix: 'none', count: 3, requestId: 'none' };
  const { last } = await ended(daemon.client, await jobs.cloneMany(request));
  expect(last).toMatchObject({ state: JobState.FAILED, error: { code: Code.NotFound } });
  expect((await jobs.cloneMany(request)).state).toBe(JobState.FAILED);
});

test('an export of which its process is killed leaves nothing', async () => {
  const directory = scratchDirectory('killed-export');
  await home.pool.import('large-export', large);
  const started = await daemon.client.jobs.exportVolume({
    name: `${parent}/volumes/large-export`,
    targetPath: join(directory, 'out.qcow2'),
    format: ImageFormat.QCOW2,
  });
  await underWay(started);
  await daemon.kill();
  expect(readdirSync(directory)).toEqual([]);
  daemon = await start();
});

test('exports, clones many, measures', async () => {
  const { jobs } = daemon.client;
  const target = join(images, 'out.qcow2');
  const exported = await ended(
    daemon.client,
    await jobs.exportVolume({
      name: `${parent}/volumes/small`,
      targetPath: target,
      format: ImageFormat.QCOW2,
    }),
  );
  expect(exported.last.result).toMatchObject({ case: 'exportVolume', value: { path: target } });
  await home.pool.create('n-2', { bytes: MiB });
  const cloned = await ended(
    daemon.client,
    await jobs.cloneMany({ source: `${parent}/volumes/small`, prefix: 'n', count: 5 }),
  );
  expect(cloned.last.result).toMatchObject({
    case: 'cloneMany',
    value: { clonedCount: 4, failed: [{ subject: 'n-2', error: { code: Code.AlreadyExists } }] },
  });
  const measured = await ended(
    daemon.client,
    await jobs.measureUsage({ parent, names: [`${parent}/volumes/small`, `${parent}/volumes/n-1`] }),
  );
  expect(measured.last.result).toMatchObject({
    case: 'measureUsage',
    value: {
      usages: [{ name: `${parent}/volumes/small` }, { name: `${parent}/volumes/n-1`, exclusiveBytes: 0n }],
    },
  });
});

async function underWay({ name }: Pick<Job, 'name'>): Promise<void> {
  for await (const { progress, state } of daemon.client.jobs.watchJob({ name })) {
    expect(state).toBe(JobState.RUNNING);
    if (progress && progress.fraction > 0.02) return;
  }
}
