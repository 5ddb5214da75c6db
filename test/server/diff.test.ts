import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  BadRequestSchema,
  type CoppiceClient,
  connectCoppice,
  DiffMethod,
  type DiffSnapshotsResponse,
  FileAspect,
  type FileChange,
  FileChangeKind,
  FileType,
} from '../../src/client/index.ts';
import type { Pool } from '../../src/index.ts';
import { comparison } from '../../src/server/pools/comparison.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

/** What is different in two trees: all of it, in small pieces, to who reads slowly, and to who goes away. */

const files = 2500;
const before = 'pools/vms/volumes/tree/snapshots/before';
const after = 'pools/vms/volumes/tree/snapshots/after';
let home: TestServer;
let pool: Pool;
let client: CoppiceClient;

beforeAll(async () => {
  home = await startTestServer({ pools: ['vms', 'other'] });
  pool = home.pools['vms'] as Pool;
  client = connectCoppice({ socket: home.socket });
  await pool.create('tree', { kind: 'tree' });
  const path = await pool.diskPath('tree');
  writeFileSync(join(path, 'changed'), 'before');
  await pool.snapshot('tree@before');
  writeFileSync(join(path, 'changed'), 'after!');
  // A name that is no UTF-8, and many.
  writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x66])]), 'x');
  mkdirSync(join(path, 'many'));
  for (let number = 0; number < files; number++) writeFileSync(join(path, 'many', `file-${number}`), '');
  await pool.snapshot('tree@after');
});
afterAll(async () => {
  client.close();
  await home[Symbol.asyncDispose]();
});

async function all(request: {
  before: string;
  after?: string;
  summaryOnly?: boolean;
}): Promise<DiffSnapshotsResponse[]> {
  return await Array.fromAsync(client.volumes.diffSnapshots(request));
}

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

test('tells what the library tells, a summary first, and no message is large', async () => {
  const told = await all({ before, after });
  const expected = await pool.diff('tree@before', 'tree@after');
  expect(expected.changes.length).toBeGreaterThan(files);
  expect(told[0]).toMatchObject({
    summary: {
      addedCount: BigInt(expected.counts.added),
      changedCount: 1n,
      removedCount: 0n,
      renamedCount: 0n,
      method: DiffMethod.GENERATIONS,
    },
    changes: [],
  });
  expect(told[0]?.summary?.bytes?.changedBytes).toBe(BigInt(expected.bytes?.changed ?? -1));
  expect(told.length).toBeGreaterThan(files / 500);
  for (const { summary, changes } of told.slice(1)) {
    expect(summary).toBeUndefined();
    expect(changes.length).toBeGreaterThan(0);
    expect(changes.length).toBeLessThanOrEqual(500);
  }
  const changes = told.flatMap((each) => each.changes);
  expect(changes.map(({ path }) => path)).toEqual(expected.changes.map(({ path }) => path));
  expect(changes.find(({ path }) => path === 'changed')).toMatchObject({
    kind: FileChangeKind.CHANGED,
    type: FileType.FILE,
    aspects: expect.arrayContaining([FileAspect.DATA]),
  });
  expect(changes.find(({ path }) => path === 'many')).toMatchObject({
    kind: FileChangeKind.ADDED,
    type: FileType.DIRECTORY,
  });
  const odd = changes.find(({ pathBytes }) => pathBytes.length > 0);
  expect([...(odd?.pathBytes ?? [])]).toEqual([0xff, 0x66]);
});

test('tells only the summary to who wants no more, and compares with the present', async () => {
  const [only, ...rest] = await all({ before: after, summaryOnly: true });
  expect(rest).toEqual([]);
  expect(only).toMatchObject({ summary: { addedCount: 0n, changedCount: 0n }, changes: [] });
  const [counted] = await all({ before, summaryOnly: true });
  expect(counted?.summary?.addedCount).toBe(BigInt(files + 2));
});

test('who goes away in the middle holds up nobody', async () => {
  for (let number = 0; number < 5; number++) {
    const seen: FileChange[] = [];
    for await (const { changes } of client.volumes.diffSnapshots({ before, after })) {
      seen.push(...changes);
      if (seen.length > 0) break;
    }
  }
  // Two run at once: were the places of the others not free again, these would wait for ever.
  const [first, second] = await Promise.all([all({ before, after }), all({ before: after, after: before })]);
  expect(first[0]?.summary?.addedCount).toBe(second[0]?.summary?.removedCount);
});

test.each<[what: string, request: { before: string; after?: string }, code: Code, field?: string]>([
  ['what is not there', { before: 'pools/vms/volumes/tree/snapshots/none' }, Code.NotFound],
  ['a volume with itself', { before: 'pools/vms/volumes/tree' }, Code.InvalidArgument, 'after'],
  ['with another pool', { before, after: 'pools/other/volumes/x' }, Code.InvalidArgument, 'after'],
  ['a disk', { before: 'pools/vms/volumes/disk/snapshots/s' }, Code.Unimplemented],
])('does not compare %s', async (_, request, code, field) => {
  if (code === Code.Unimplemented) {
    await pool.create('disk', { bytes: 4096 });
    await pool.snapshot('disk@s');
  }
  const error = await failure(all(request));
  expect(Code[error.code], error.message).toBe(Code[code]);
  if (field !== undefined)
    expect(error.findDetails(BadRequestSchema)).toMatchObject([{ fieldViolations: [{ field }] }]);
});

test('a time limit that passes ends it, and the next one goes on', async () => {
  const late = await failure(
    Array.fromAsync(client.volumes.diffSnapshots({ before, after }, { timeoutMs: 1 })),
  );
  expect(late.code).toBe(Code.DeadlineExceeded);
  expect((await all({ before, after })).length).toBeGreaterThan(1);
  const failed = home.takeLog().filter(({ level }) => level === 'error');
  expect(failed).toEqual([]);
});

test('what is given up is over when it says so, and has left nothing', async () => {
  const giveUp = new AbortController();
  const task = { path: pool.path, id: pool.id, from: 'tree@before', to: null, isSummary: false };
  const pieces = comparison(task, giveUp.signal);
  expect(await pieces.next()).toMatchObject({ value: { summary: { counts: { added: files + 2 } } } });
  expect(await pieces.next()).toMatchObject({ done: false, value: { changes: expect.anything() } });
  giveUp.abort();
  await expect(pieces.next()).rejects.toMatchObject({ name: 'AbortError' });
  // The copy of the present state was the thread's to clear.
  expect(readdirSync(join(pool.path, '.staging'))).toEqual([]);
});

test('another pool at the same place is not compared', async () => {
  const task = { path: pool.path, id: 'another', from: 'tree@before', to: null, isSummary: false };
  const pieces = comparison(task, new AbortController().signal);
  await expect(pieces.next()).rejects.toMatchObject({ code: 'not_a_pool' });
});
