import { type ClientHttp2Session, connect } from 'node:http2';
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

test('a request with tens of thousands of wrong fields is answered in a few words', async () => {
  const body: Record<string, number> = {};
  for (let index = 0; index < 60_000; index++) body[`field${index}`] = index;
  const answer = await postJson(place.socket, 'coppice.v1.VolumeService/BatchDelete', body);
  expect(answer.status).toBe(400);
  expect(answer.text.length).toBeLessThan(10_000);
});

test.each([
  ['coppice.v1.VolumeService/GetVolume', 100_000],
  // Which everybody may ask.
  ['grpc.health.v1.Health/Check', 2000],
])('what is too large for %s is refused by both protocols', async (method, bytes) => {
  const field = method.startsWith('grpc') ? 'service' : 'name';
  const answer = await postJson(place.socket, method, `{"${field}":"${'a'.repeat(bytes)}"}`);
  expect(answer.status).toBe(429);
  expect(await statusOf(method, Buffer.alloc(bytes))).toBe('8');
  expect(await statusOf(method, Buffer.alloc(6 * 2 ** 20))).toBe('8');
  expect((await daemon.client.pools.listPools({})).pools).toHaveLength(1);
});

test('who has said how long he waits is told so then', async () => {
  const header = { 'connect-timeout-ms': '1' };
  const answer = await postJson(place.socket, 'coppice.v1.PoolService/Diagnose', { name: 'pools/p' }, header);
  expect(answer.body).toMatchObject({ code: 'deadline_exceeded' });
  expect((await daemon.client.pools.diagnose({ name: 'pools/p' })).findings.length).toBeGreaterThan(0);
});

test('those who ask whether it lives, and wait, are only so many', async () => {
  const session = openSession();
  // Of an empty request.
  const streams = Array.from({ length: 250 }, () =>
    ask(session, 'grpc.health.v1.Health/Watch', Buffer.alloc(5)),
  );
  const refused = await Promise.all(
    streams.map((stream) => Promise.race([stream.answered, stream.status.then((status) => status === '8')])),
  );
  expect(refused.filter(Boolean)).toHaveLength(50);
  session.destroy();
  await expect
    .poll(() => statusOf('grpc.health.v1.Health/Watch', Buffer.alloc(5), 'answered'))
    .toBe('answered');
});

function openSession(): ClientHttp2Session {
  const session = connect('http://localhost', { createConnection: () => connectSocket(place.socket) });
  session.on('error', () => {});
  return session;
}

interface Asked {
  /** What the call ended with. */
  readonly status: Promise<unknown>;
  /** Resolves to false with the first piece of an answer. */
  readonly answered: Promise<false>;
}

/** One call of gRPC with these bytes. */
function ask(session: ClientHttp2Session, method: string, body: Buffer): Asked {
  const stream = session.request({
    ':method': 'POST',
    ':path': `/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  let found: unknown;
  for (const event of ['response', 'trailers'] as const)
    stream.on(event, (headers: Record<string, unknown>) => {
      found = headers['grpc-status'] ?? found;
    });
  const answered = new Promise<false>((resolve) => stream.once('data', () => resolve(false)));
  const status = new Promise((resolve) => stream.on('close', () => resolve(found)));
  stream.end(body);
  return { status, answered };
}

async function statusOf(method: string, body: Buffer, whenAnswered?: string): Promise<unknown> {
  const session = openSession();
  const { status, answered } = ask(session, method, body);
  const result = await (whenAnswered === undefined
    ? status
    : Promise.race([status, answered.then(() => whenAnswered)]));
  session.destroy();
  return result;
}
