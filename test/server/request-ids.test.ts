import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BadRequestSchema, type CoppiceClient } from '../../src/client/index.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** The same request id twice: one effect, the same answer, also after a restart. */

const place = daemonPlace();
let home: TestPool;
let daemon: Daemon;
let stem = '';
let count = 0;

beforeAll(async () => {
  home = await makeTestPool();
  daemon = await start();
});
afterAll(async () => {
  await daemon.stop();
  await home[Symbol.asyncDispose]();
});
beforeEach(() => {
  stem = `r${++count}`;
});

async function start(): Promise<Daemon> {
  const started = await startDaemon({ p: home.path }, place);
  await started.said('pool available');
  return started;
}

const pool = 'pools/p';
const nameOf = (volume: string): string => `${pool}/volumes/${volume}`;

interface Case {
  readonly name: string;
  /** What has to be there before. */
  readonly prepare: () => Promise<unknown>;
  readonly call: (client: CoppiceClient, requestId: string) => Promise<object>;
  /** Makes the same call without an id fail, or show that it happens again: what happened once can be told from twice. */
  readonly again: 'AlreadyExists' | 'NotFound' | 'differs';
}

const cases: readonly Case[] = [
  {
    name: 'CreateVolume',
    prepare: async () => {},
    call: ({ volumes }, requestId) =>
      volumes.createVolume({ parent: pool, volumeId: stem, sizeBytes: 4096n, requestId }),
    again: 'AlreadyExists',
  },
  {
    name: 'Clone',
    prepare: () => home.pool.create(`${stem}-source`, { bytes: 4096 }),
    call: ({ volumes }, requestId) =>
      volumes.clone({ source: nameOf(`${stem}-source`), volumeId: stem, requestId }),
    again: 'AlreadyExists',
  },
  {
    name: 'Seal',
    prepare: () => home.pool.create(`${stem}-source`, { bytes: 4096 }),
    call: ({ volumes }, requestId) =>
      volumes.seal({ source: nameOf(`${stem}-source`), volumeId: stem, requestId }),
    again: 'AlreadyExists',
  },
  {
    name: 'Snapshot without a name',
    prepare: () => home.pool.create(stem, { bytes: 4096 }),
    call: ({ volumes }, requestId) => volumes.snapshot({ parent: nameOf(stem), requestId }),
    again: 'differs',
  },
  {
    name: 'SnapshotGroup',
    prepare: async () => {
      for (const each of ['a', 'b']) await home.pool.create(`${stem}-${each}`, { bytes: 4096 });
    },
    call: ({ volumes }, requestId) =>
      volumes.snapshotGroup({ parent: pool, volumes: [nameOf(`${stem}-a`), nameOf(`${stem}-b`)], requestId }),
    again: 'differs',
  },
  {
    name: 'Rollback',
    prepare: async () => {
      await home.pool.create(stem, { bytes: 4096 });
      await home.pool.snapshot(`${stem}@s`);
    },
    call: ({ volumes }, requestId) => volumes.rollback({ name: `${nameOf(stem)}/snapshots/s`, requestId }),
    again: 'differs',
  },
  {
    name: 'GrowVolume',
    prepare: () => home.pool.create(stem, { bytes: 4096 }),
    call: ({ volumes }, requestId) => volumes.growVolume({ name: nameOf(stem), sizeBytes: 8192n, requestId }),
    again: 'differs',
  },
  {
    name: 'RenameVolume',
    prepare: () => home.pool.create(`${stem}-old`, { bytes: 4096 }),
    call: ({ volumes }, requestId) =>
      volumes.renameVolume({ name: nameOf(`${stem}-old`), volumeId: stem, requestId }),
    again: 'NotFound',
  },
  {
    name: 'DeleteVolume',
    prepare: () => home.pool.create(stem, { bytes: 4096 }),
    call: ({ volumes }, requestId) => volumes.deleteVolume({ name: nameOf(stem), requestId }),
    again: 'NotFound',
  },
  {
    name: 'DeleteSnapshot',
    prepare: async () => {
      await home.pool.create(stem, { bytes: 4096 });
      await home.pool.snapshot(`${stem}@s`);
    },
    call: ({ volumes }, requestId) =>
      volumes.deleteSnapshot({ name: `${nameOf(stem)}/snapshots/s`, requestId }),
    again: 'NotFound',
  },
  {
    name: 'BatchDelete',
    prepare: async () => {
      for (const each of ['a', 'b']) await home.pool.create(`${stem}-${each}`, { bytes: 4096 });
    },
    call: ({ volumes }, requestId) =>
      volumes.batchDelete({ parent: pool, names: [nameOf(`${stem}-a`), nameOf(`${stem}-b`)], requestId }),
    again: 'NotFound',
  },
  {
    name: 'CloneMany',
    prepare: () => home.pool.create(`${stem}-source`, { bytes: 4096 }),
    call: async ({ jobs }, requestId) => {
      const { name, method } = await jobs.cloneMany({
        source: nameOf(`${stem}-source`),
        prefix: stem,
        count: 3,
        requestId,
      });
      return { name, method };
    },
    again: 'differs',
  },
];

describe.each(cases)('$name', ({ prepare, call, again }) => {
  test('twice, and twice at once, and after a restart and a crash', async () => {
    await prepare();
    const id = `${stem}-id`;
    const [first, atOnce] = await Promise.all([call(daemon.client, id), call(daemon.client, id)]);
    expect(atOnce).toEqual(first);
    expect(await call(daemon.connect(), id)).toEqual(first);
    const repeated = await outcome(() => call(daemon.client, ''));
    if (again === 'differs') expect(repeated).not.toEqual(first);
    else expect(repeated).toBe(again);
    await (count % 2 === 0 ? daemon.kill() : daemon.stop());
    daemon = await start();
    expect(await call(daemon.client, id)).toEqual(first);
  });
});

test('what was done and not answered before a crash is found, by each method', async () => {
  const firsts = new Map<Case, { readonly stem: string; readonly answer: object }>();
  for (const [index, each] of cases.entries()) {
    stem = `lost-${index}`;
    await each.prepare();
    firsts.set(each, { stem, answer: await each.call(daemon.client, `${stem}-id`) });
  }
  await daemon.kill();
  {
    // As if it had died before it wrote the answers down.
    using state = new DatabaseSync(join(place.state, 'state.db'));
    state.exec('UPDATE requests SET answer = NULL, ended = NULL');
  }
  daemon = await start();
  const before = await contents();
  for (const [each, first] of firsts) {
    stem = first.stem;
    const answer = await each.call(daemon.client, `${stem}-id`);
    expect(essentialOf(answer), each.name).toEqual(essentialOf(first.answer));
  }
  expect(await contents()).toEqual(before);
});

/** What an answer says of what there is; how it was made is not known any more. */
function essentialOf(answer: object): object {
  const essential = ['name', 'uid', 'group', 'undo', 'previousSizeBytes', 'removed', 'sizeBytes'];
  return Object.fromEntries(Object.entries(answer).filter(([field]) => essential.includes(field)));
}

async function contents(): Promise<unknown> {
  return [await home.pool.list(), await home.pool.listSnapshots()];
}

test('an id is refused for another request, and for another method', async () => {
  const { volumes } = daemon.client;
  await volumes.createVolume({ parent: pool, volumeId: stem, sizeBytes: 4096n, requestId: `${stem}-id` });
  for (const other of [
    () =>
      volumes.createVolume({
        parent: pool,
        volumeId: `${stem}-b`,
        sizeBytes: 4096n,
        requestId: `${stem}-id`,
      }),
    () => volumes.deleteVolume({ name: nameOf(stem), requestId: `${stem}-id` }),
  ]) {
    const error = await other().then(
      () => undefined,
      (reason: unknown) => ConnectError.from(reason),
    );
    expect(Code[error?.code ?? 0]).toBe('InvalidArgument');
    expect(error?.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field).toBe('request_id');
  }
  expect((await home.pool.show(stem)).name).toBe(stem);
});

test('a request that failed has changed nothing, and its id can be used again', async () => {
  const { volumes } = daemon.client;
  const call = (): Promise<object> =>
    volumes.clone({ source: nameOf(`${stem}-source`), volumeId: stem, requestId: `${stem}-id` });
  expect(await outcome(call)).toBe('NotFound');
  await home.pool.create(`${stem}-source`, { bytes: 4096 });
  expect(await outcome(call)).toMatchObject({ name: nameOf(stem) });
});

test('what another has made under the name is not taken for one’s own', async () => {
  await home.pool.create(stem, { bytes: 4096 });
  const call = (): Promise<object> =>
    daemon.client.volumes.createVolume({
      parent: pool,
      volumeId: stem,
      sizeBytes: 4096n,
      requestId: `${stem}-id`,
    });
  expect(await outcome(call)).toBe('AlreadyExists');
});

async function outcome(call: () => Promise<object>): Promise<object | string> {
  try {
    return await call();
  } catch (error) {
    return Code[ConnectError.from(error).code] ?? '';
  }
}
