import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Job, JobState } from '../../src/api/generated/coppice/v1/job_service_pb.ts';
import { addGrant } from '../../src/server/auth/tokens.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { scratchDirectory } from '../support/devices.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

const parent = 'pools/p';
const kiB = 1024;

let home: TestPool;
let daemon: Daemon;
/** A directory for images that the operator has given, and one beside it. */
let given: string;
let outside: string;
let options: { readonly headers: Readonly<Record<string, string>> };

beforeAll(async () => {
  home = await makeTestPool();
  const directory = scratchDirectory('images');
  given = join(directory, 'given');
  outside = join(directory, 'outside');
  for (const each of [given, outside]) mkdirSync(each);
  writeFileSync(join(given, 'own.raw'), Buffer.alloc(64 * kiB, 'own'));
  writeFileSync(join(outside, 'disk.raw'), Buffer.alloc(64 * kiB, 'secret'));
  const place = daemonPlace();
  // Who is root has every right at the socket; a token counts before that. An admin of some pools could reach others by their files.
  const { token } = await addGrant(place.tokens, {
    name: 'one',
    kind: 'token',
    scope: 'admin',
    pools: ['p'],
  });
  options = { headers: { authorization: `Bearer ${token}` } };
  daemon = await startDaemon({ p: home.path }, place, { flags: ['--image-directory', given] });
  await daemon.said('pool available');
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

test('files of the host are for admins, and for directories that the operator has given', async () => {
  symlinkSync(join(outside, 'disk.raw'), join(given, 'link.raw'));
  symlinkSync(outside, join(given, 'elsewhere'));
  const attempt = (sourcePath: string): Promise<string> =>
    daemon.client.jobs.importTemplate({ parent, volumeId: 'given', sourcePath }, options).then(
      () => 'fine',
      (error: unknown) => Code[ConnectError.from(error).code] ?? '',
    );
  for (const path of [
    '/etc/shadow',
    `${given}/../outside/disk.raw`,
    `${given}/link.raw`,
    `${given}/elsewhere/disk.raw`,
    `${given}-other/x`,
  ])
    expect(await attempt(path), path).toMatch(/^(PermissionDenied|InvalidArgument)$/);
  expect(await attempt(join(given, 'own.raw'))).toBe('fine');
  // The log has everybody who was refused.
  const lines = daemon.log.filter(({ message }) => message === 'refused');
  expect(lines).toHaveLength(5);
  expect(lines[0]).toMatchObject({ principal: 'token:one', code: 'PermissionDenied', level: 'warn' });
});

test('who exchanges a directory on the way for a link meanwhile gets nothing out, and puts nothing elsewhere', async () => {
  mkdirSync(join(given, 'sub'));
  writeFileSync(join(given, 'sub', 'disk.raw'), Buffer.alloc(64 * kiB, 'own'));
  symlinkSync(outside, join(given, 'exchanged'));
  const names = ['sub', 'aside', 'exchanged'].map((name) => JSON.stringify(join(given, name))).join();
  const exchanging = new Worker(
    `const { renameSync } = require('node:fs');
     const [sub, aside, link] = [${names}];
     for (;;) { renameSync(sub, aside); renameSync(link, sub); renameSync(sub, link); renameSync(aside, sub); }`,
    { eval: true },
  );
  const ends: JobState[] = [];
  try {
    for (let round = 0; round < 40; round++) {
      const { jobs } = daemon.client;
      const sourcePath = join(given, 'sub/disk.raw');
      const targetPath = join(given, `sub/out-${round}.raw`);
      const volumeId = `raced-${round}`;
      const adoption = { parent, paths: [sourcePath], copy: true, force: true, keepGoing: true };
      ends.push(...(await endOf(() => jobs.importTemplate({ parent, volumeId, sourcePath }, options))));
      ends.push(
        ...(await endOf(() => jobs.exportVolume({ name: `${parent}/volumes/given`, targetPath }, options))),
      );
      ends.push(...(await endOf(() => jobs.adoptDisks(adoption, options))));
    }
  } finally {
    await exchanging.terminate();
  }
  // It did come between: some were refused, and some not.
  expect(new Set(ends)).toContain(JobState.SUCCEEDED);
  expect(readdirSync(outside)).toEqual(['disk.raw']);
  for (const { name } of await home.pool.list()) {
    const disk = readFileSync(await home.pool.diskPath(name));
    expect(disk.includes('secret'), name).toBe(false);
  }
});

/** What became of a job; nothing where it was refused at once. */
async function endOf(start: () => Promise<Job>): Promise<JobState[]> {
  let job: Job;
  try {
    job = await start();
  } catch (error) {
    expect([Code.PermissionDenied, Code.InvalidArgument, Code.NotFound]).toContain(
      ConnectError.from(error).code,
    );
    return [];
  }
  for await (const { state } of daemon.client.jobs.watchJob({ name: job.name })) {
    if (state !== JobState.RUNNING) return [state];
  }
  return [];
}
