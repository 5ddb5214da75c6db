import { chmodSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CoppiceClient, PoolState, RetryInfoSchema } from '../../src/client/index.ts';
import { createPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { coppice } from '../e2e/command.ts';
import { certificateAuthority } from '../support/certificates.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { scratchDirectory } from '../support/devices.ts';
import { poolPlace } from '../support/pool-place.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

const GiB = 2 ** 30;

async function codeOf(call: () => Promise<unknown>): Promise<string> {
  return call().then(
    () => 'Ok',
    (error: unknown) => Code[ConnectError.from(error).code] ?? '',
  );
}

describe('a pool that is not there', () => {
  test('is unavailable with a reason, holds up no other, and heals by itself', async () => {
    await using home = await makeTestPool();
    using late = poolPlace();
    await using daemon = await startDaemon({ here: home.path, late: late.path }, daemonPlace());
    const { client } = daemon;
    await daemon.said('pool available', { pool: 'here' });
    const { pools } = await client.pools.listPools({});
    expect(pools.map(({ name, state }) => [name, state])).toEqual([
      ['pools/here', PoolState.AVAILABLE],
      ['pools/late', PoolState.UNAVAILABLE],
    ]);
    expect(pools[1]?.unavailableReason).toContain(late.path);
    const create = (pool: string, volumeId: string): Promise<unknown> =>
      client.volumes.createVolume({ parent: `pools/${pool}`, volumeId, sizeBytes: 4096n });
    await create('here', 'a');
    const error = await create('late', 'a').catch((reason: unknown) => ConnectError.from(reason));
    expect(error).toMatchObject({ code: Code.Unavailable });
    expect((error as ConnectError).findDetails(RetryInfoSchema)).toHaveLength(1);
    const metrics = await get(daemonSocket(daemon), '/metrics');
    expect(metrics).toContain('coppice_pool_available{pool="late"} 0');

    createPool({ path: late.path, file: late.file, bytes: 4 * GiB });
    await daemon.said('pool available', { pool: 'late' });
    await create('late', 'a');

    const watch = client.events.watchEvents({ parent: 'pools/late' })[Symbol.asyncIterator]();
    for (let next = await watch.next(); !next.value?.synced; next = await watch.next())
      expect(next.done).toBe(false);

    // It goes away under the server, as by "umount -l", and comes back.
    runProgram('umount', ['--lazy', '--', late.path]);
    const isGone = async (): Promise<boolean> =>
      (await client.pools.getPool({ name: 'pools/late' })).state === PoolState.UNAVAILABLE;
    while (!(await isGone())) await pause(100);
    expect(await codeOf(() => create('late', 'b'))).toBe('Unavailable');
    await create('here', 'b');
    runProgram('mount', ['-o', 'loop', '--', late.file, late.path]);
    while (await isGone()) await pause(100);
    await create('late', 'b');

    // What happened meanwhile nobody knows, so who watches begins anew.
    const told: string[] = [];
    let isResync = false;
    while (!told.includes('pools/late/volumes/b')) {
      const { value, done } = await watch.next();
      if (done) throw new Error('The watch has ended.');
      isResync ||= value.resync;
      for (const { resource } of value.events)
        if (isResync && resource.case === 'volume') told.push(resource.value.name);
    }
    expect(told[0]).toBe('pools/late/volumes/a');
  });
});

describe('a server', () => {
  let home: TestPool;
  beforeAll(async () => {
    home = await makeTestPool();
  });
  afterAll(() => home[Symbol.asyncDispose]());

  test('does not listen where others could put a socket of their own', async () => {
    const open = join(scratchDirectory('open'), 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    const place = { ...daemonPlace(), socket: join(open, 'c.sock') };
    await expect(startDaemon({ p: home.path }, place)).rejects.toThrow(/can be written by others/);
    const deeper = join(open, 'deeper');
    mkdirSync(deeper, { mode: 0o755 });
    await expect(startDaemon({ p: home.path }, { ...place, socket: join(deeper, 'c.sock') })).rejects.toThrow(
      /others than its owner can write to the directory/,
    );
  });

  test('takes the place of a dead one, and not that of a living one, nor of a file', async () => {
    const place = daemonPlace();
    const first = await startDaemon({ p: home.path }, place);
    expect(statSync(place.socket).mode & 0o777).toBe(0o600);
    await expect(startDaemon({ p: home.path }, { ...place, state: `${place.state}-2` })).rejects.toThrow(
      /Another server listens/,
    );
    await first.kill();
    expect(existsSync(place.socket)).toBe(true);
    const second = await startDaemon({ p: home.path }, place);
    expect(await second.stop()).toBe(0);
    rmSync(place.socket, { force: true });
    writeFileSync(place.socket, 'precious');
    await expect(startDaemon({ p: home.path }, place)).rejects.toThrow(/is no socket/);
  });

  test('says in one sentence why it does not start', async () => {
    const directory = scratchDirectory('mistakes');
    const [cert, file] = [certificateAuthority(directory, 'own').issue('server'), join(directory, 'file')];
    writeFileSync(file, '');
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const port = (taken.address() as AddressInfo).port;
    const tls = ['--tls-cert', cert.certificate, '--tls-key', cert.key];
    const cases: ReadonlyArray<readonly [flags: readonly string[], change: object, said: RegExp]> = [
      [['--pool', 'vms='], {}, /vms=.* names no path/],
      [['--pool', ''], {}, /--pool: .* names no path/],
      [['--hook', 'x'], {}, /--hook: .*x.* is not NAME=PROGRAM/],
      [['--listen', `127.0.0.1:${port}`, ...tls], {}, /another program listens there/],
      [['--listen', '192.0.2.1:7443', ...tls], {}, /this host has no such address/],
      [[], { socket: join(directory, 'x'.repeat(120)) }, /107 bytes at most/],
      [[], { socket: join(file, 'c.sock') }, /is no directory/],
      [[], { state: join(file, 'state') }, /is no directory/],
      [[], { state: join(directory, 'no', 'state') }, /There is no .*mistakes.*\/no/],
      [[], { auditLog: join(file, 'audit.jsonl') }, /is no directory/],
      [[], { auditLog: '/proc/nowhere/deeper/audit.jsonl' }, /There is no \/proc/],
    ];
    for (const [flags, change, said] of cases) {
      const failing = startDaemon({ p: home.path }, { ...daemonPlace(), ...change }, { flags });
      const failure = await failing.then(
        async (daemon) => {
          await daemon.stop();
          return 'it has started';
        },
        (error: unknown) => String(error),
      );
      expect(failure).toMatch(said);
      expect(failure).not.toMatch(/unexpected| at .*\.ts:/);
    }
    taken.close();
  });

  test('shares its state with no other', async () => {
    const place = daemonPlace();
    await using _first = await startDaemon({ p: home.path }, place);
    const other = { ...daemonPlace(), state: place.state };
    await expect(startDaemon({ p: home.path }, other)).rejects.toThrow(/another server uses it/);
  });

  test('works beside the command line, which sees it and is seen', async () => {
    const place = daemonPlace();
    await using daemon = await startDaemon({ p: home.path }, place);
    await daemon.said('pool available');
    await daemon.client.volumes.createVolume({ parent: 'pools/p', volumeId: 'by-daemon', sizeBytes: 4096n });
    expect(coppice(home.path, 'list').stdout).toContain('by-daemon');
    expect(coppice(home.path, 'create', 'by-command', '--size', '4K').code).toBe(0);
    const { volumes } = await daemon.client.volumes.listVolumes({ parent: 'pools/p', pageSize: 1000 });
    expect(volumes.map(({ name }) => name)).toContain('pools/p/volumes/by-command');
  });

  test('lists in pages, filtered and masked', async () => {
    await using daemon = await startDaemon({ p: home.path }, daemonPlace());
    await daemon.said('pool available');
    await home.pool.create('page', { bytes: 4096 });
    await home.pool.cloneMany('page', 'page', 25);
    await home.pool.seal('page', 'page-t');
    const all = await everyPage(daemon.client, {});
    const listed = (await home.pool.list()).map(({ name }) => `pools/p/volumes/${name}`);
    expect(all).toEqual(listed);
    const templates = await daemon.client.volumes.listVolumes({
      parent: 'pools/p',
      type: 2,
      readMask: { paths: ['name', 'type'] },
    });
    expect(templates.volumes).toMatchObject([{ name: 'pools/p/volumes/page-t', uid: '', type: 2 }]);
    const snapshots = ['a', 'b', 'c'];
    for (const name of snapshots) await home.pool.snapshot(`page@${name}`);
    await home.pool.create('pruned', { bytes: 4096 });
    for (const name of ['s1', 's2', 's3', 's4', 's5']) await home.pool.snapshot(`pruned@${name}`);
    const parent = 'pools/p/volumes/pruned';
    const told: string[] = [];
    for (let pageToken = ''; ; ) {
      const page = await daemon.client.volumes.listSnapshots({ parent, pageSize: 2, pageToken });
      for (const { name } of page.snapshots) {
        told.push(name.slice(name.lastIndexOf('/') + 1));
        // As whoever prunes does.
        await home.pool.remove(`pruned@${told.at(-1)}`);
      }
      pageToken = page.nextPageToken;
      if (pageToken === '') break;
      const other = daemon.client.volumes.listSnapshots({ parent: 'pools/p/volumes/page', pageToken });
      expect(await codeOf(() => other)).toBe('InvalidArgument');
    }
    expect(told).toEqual(['s1', 's2', 's3', 's4', 's5']);
    const page = await daemon.client.volumes.listSnapshots({ parent: 'pools/p/volumes/page', pageSize: 2 });
    const rest = await daemon.client.volumes.listSnapshots({
      parent: 'pools/p/volumes/page',
      pageToken: page.nextPageToken,
    });
    expect([...page.snapshots, ...rest.snapshots].map(({ name }) => name.split('/').at(-1))).toEqual(
      snapshots,
    );
    const lineage = await daemon.client.volumes.listLineage({
      parent: 'pools/p',
      volume: 'pools/p/volumes/page',
    });
    expect(lineage.nodes).toHaveLength(27);
    expect(lineage.nodes[0]).toMatchObject({ volumeId: 'page', parentUid: '' });
  });

  test('outlives clients that break off, say nothing, or talk nonsense', async () => {
    const place = daemonPlace();
    await using daemon = await startDaemon({ p: home.path }, place);
    await daemon.said('pool available');
    for (const text of [
      '',
      'GET',
      'PRI * HTTP/2.0\r\n',
      `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(200)}`,
      '\0'.repeat(5000),
    ]) {
      const socket = connect(place.socket);
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.write(text, 'latin1');
      await pause(20);
      socket.destroy();
    }
    expect(await codeOf(() => daemon.client.pools.listPools({}))).toBe('Ok');
    expect(await daemon.stop()).toBe(0);
  });
});

test('a full pool and a full disk of the state do not stop reads', async () => {
  await using home = await makeTestPool({ bytes: GiB });
  using disk = poolPlace();
  createPool({ path: disk.path, driver: 'xfs', file: disk.file, bytes: 512 * 2 ** 20 });
  const place = {
    ...daemonPlace(),
    state: join(disk.path, 'state'),
    auditLog: join(disk.path, 'log', 'audit.jsonl'),
  };
  await using daemon = await startDaemon({ p: home.path }, place);
  await daemon.said('pool available');
  const { volumes } = daemon.client;
  const create = (volumeId: string, requestId: string): Promise<string> =>
    codeOf(() => volumes.createVolume({ parent: 'pools/p', volumeId, sizeBytes: 4096n, requestId }));
  expect(await create('before', 'r-1')).toBe('Ok');
  fill(join(disk.path, 'ballast'));
  const outcomes: string[] = [];
  for (let number = 0; number < 400 && !outcomes.includes('ResourceExhausted'); number++)
    outcomes.push(await create(`full-${number}`, `${'r'.repeat(50)}-${number}`));
  expect(outcomes).toContain('ResourceExhausted');
  expect(await codeOf(() => volumes.getVolume({ name: 'pools/p/volumes/before' }))).toBe('Ok');
  expect(await codeOf(() => volumes.listVolumes({ parent: 'pools/p' }))).toBe('Ok');
  // Without a request id nothing has to be remembered.
  expect(await create('without', '')).toBe('Ok');
  rmSync(join(disk.path, 'ballast'));
  expect(await create('after', 'r-2')).toBe('Ok');
});

function fill(path: string): void {
  try {
    runProgram('dd', ['if=/dev/zero', `of=${path}`, 'bs=64k', 'status=none']);
  } catch {
    // Which ends because there is no room.
  }
}

async function everyPage({ volumes }: CoppiceClient, request: object): Promise<string[]> {
  const names: string[] = [];
  for (let pageToken = ''; ; ) {
    const page = await volumes.listVolumes({ parent: 'pools/p', pageSize: 7, pageToken, ...request });
    names.push(...page.volumes.map(({ name }) => name));
    if (page.nextPageToken === '') return names;
    expect(page.volumes).toHaveLength(7);
    pageToken = page.nextPageToken;
  }
}

function daemonSocket(daemon: Daemon): string {
  const line = daemon.log.find(({ message }) => message === 'listening');
  return String(line?.['address']).replace(/^unix:/, '');
}

async function get(socketPath: string, path: string): Promise<string> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      answer.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
}
