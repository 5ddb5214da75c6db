import { connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Daemon, daemonPlace, postJson, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** What is large, slow or many: bounded, answered, and no harm to others. */

const place = daemonPlace();
let home: TestPool;
let daemon: Daemon;

beforeAll(async () => {
  home = await makeTestPool();
  daemon = await startDaemon({ p: home.path }, place);
  await daemon.said('pool available');
});
afterAll(async () => {
  expect(await daemon.stop()).toBe(0);
  await home[Symbol.asyncDispose]();
});

test('a burst of changes by others is followed to the last of them', async () => {
  const { openPool } = await import('../../src/index.ts');
  await home.pool.create('base', { bytes: 4096 });
  await using other = await openPool(home.path, { auditLog: place.auditLog, inline: true });
  const { failed } = await other.cloneMany('base', 'burst', 1200, { durability: 'deferred' });
  expect(failed).toEqual([]);
  const names = async (): Promise<number> => {
    const found: string[] = [];
    for (let pageToken = ''; ; ) {
      const page = await daemon.client.volumes.listVolumes({ parent: 'pools/p', pageSize: 1000, pageToken });
      found.push(...page.volumes.map(({ name }) => name));
      if (page.nextPageToken === '') return found.length;
      pageToken = page.nextPageToken;
    }
  };
  await expect.poll(names, { timeout: 30_000 }).toBe(1201);
});

test('a failure that names thousands arrives, and says what it is', async () => {
  const names = Array.from({ length: 1200 }, (_, index) => `pools/p/volumes/burst-${index + 1}`);
  await home.pool.snapshot('burst-7@s');
  const error = await daemon.client.volumes.batchDelete({ parent: 'pools/p', names }).then(
    () => undefined,
    (reason: unknown) => ConnectError.from(reason),
  );
  expect(Code[error?.code ?? 0]).toBe('FailedPrecondition');
  const wrong = names.map((name) => name.replace('pools/p', 'pools/q'));
  const other = await daemon.client.volumes.batchDelete({ parent: 'pools/p', names: wrong }).then(
    () => undefined,
    (reason: unknown) => ConnectError.from(reason),
  );
  expect(Code[other?.code ?? 0]).toBe('InvalidArgument');
});

test('a request with hundreds of thousands of wrong fields is answered in a few words', async () => {
  const body: Record<string, number> = {};
  for (let index = 0; index < 200_000; index++) body[`field${index}`] = index;
  const answer = await postJson(place.socket, 'coppice.v1.VolumeService/BatchDelete', body);
  expect(answer.status).toBe(400);
  expect(answer.text.length).toBeLessThan(10_000);
});

test('what is too large is refused by both protocols', async () => {
  const huge = `{"name":"${'a'.repeat(5 * 2 ** 20)}"}`;
  const answer = await postJson(place.socket, 'coppice.v1.VolumeService/GetVolume', huge).catch(
    (error: NodeJS.ErrnoException) => error.code,
  );
  // The rest of it may find the door closed.
  if (typeof answer === 'object') expect(answer.status).toBe(429);
  const session = connect('http://localhost', { createConnection: () => connectSocket(place.socket) });
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': '/coppice.v1.VolumeService/GetVolume',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  const statuses: unknown[] = [];
  for (const event of ['response', 'trailers'] as const)
    stream.on(event, (headers: Record<string, unknown>) => statuses.push(headers['grpc-status']));
  stream.resume();
  const closed = new Promise((resolve) => stream.on('close', resolve));
  for (let sent = 0; sent < 6 && !stream.destroyed; sent++) stream.write(Buffer.alloc(2 ** 20));
  stream.end();
  await closed;
  session.destroy();
  expect(statuses).toContain('8');
  expect((await daemon.client.pools.listPools({})).pools).toHaveLength(1);
});
