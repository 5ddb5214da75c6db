import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addGrant } from '../../src/server/auth/tokens.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { scratchDirectory } from '../support/devices.ts';
import { fakeFirecracker } from '../support/fake-hypervisors.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Disks that grow through the API, and who is told; guests that are to be frozen. The hypervisors themselves are tried elsewhere. */

const MiB = 2n ** 20n;
const place = daemonPlace();
const scratch = scratchDirectory('grow');
const told = join(scratch, 'told');
const name = 'pools/p/volumes/v';
let home: TestPool;
let daemon: Daemon;
let writer: { readonly headers: { readonly authorization: string } };

beforeAll(async () => {
  home = await makeTestPool();
  await home.pool.create('v', { bytes: 2 ** 20 });
  const hook = join(scratch, 'hook');
  writeFileSync(
    hook,
    `#!/bin/sh\necho "$COPPICE_VOLUME $COPPICE_PATH $COPPICE_BYTES $COPPICE_PREVIOUS_BYTES" > ${told}\n`,
  );
  chmodSync(hook, 0o755);
  const { token } = await addGrant(place.tokens, { name: 'writer', kind: 'token', scope: 'write' });
  writer = { headers: { authorization: `Bearer ${token}` } };
  daemon = await startDaemon({ p: home.path }, place, { flags: ['--hook', `vmm=${hook}`] });
  await daemon.said('pool available');
});
afterAll(async () => {
  expect(await daemon.stop()).toBe(0);
  await home[Symbol.asyncDispose]();
});

async function failureOf(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

test('a disk grows, a hook that the operator has given is run, and the answer says what the guest must do', async () => {
  const answer = await daemon.client.volumes.growVolume(
    { name, sizeBytes: 2n * MiB, notify: { hypervisor: { case: 'hook', value: 'vmm' } } },
    writer,
  );
  expect(answer).toMatchObject({ volume: { name, sizeBytes: 2n * MiB }, previousSizeBytes: MiB });
  expect(answer.notified).not.toBe('');
  expect(answer.guestSteps.length).toBeGreaterThan(0);
  expect(readFileSync(told, 'utf8').trim()).toBe(`v ${await home.pool.diskPath('v')} 2097152 1048576`);
});

test('a retry tells the hypervisor that could not be told, and what is done is answered without it', async () => {
  await home.pool.create('retried', { bytes: 2 ** 20 });
  const path_on_host = await home.pool.diskPath('retried');
  const drives: Array<Record<string, unknown>> = [];
  const firecracker = await fakeFirecracker(drives);
  const grow = () =>
    daemon.client.volumes.growVolume({
      name: 'pools/p/volumes/retried',
      // Is rounded up.
      sizeBytes: 2n * MiB - 100n,
      requestId: 'retried',
      notify: {
        hypervisor: { case: 'firecracker', value: { socket: firecracker.socket, drive: 'root' } },
      },
    });
  expect((await failureOf(grow())).code).toBe(Code.NotFound);
  // The disk has grown already: the size before is still told.
  drives.push({ drive_id: 'root', path_on_host });
  const answer = await grow();
  expect(answer).toMatchObject({ previousSizeBytes: MiB, volume: { sizeBytes: 2n * MiB } });
  expect(answer.notified).not.toBe('');
  await firecracker[Symbol.asyncDispose]();
  expect(await grow()).toEqual(answer);
});

test('nobody names a program, an unknown hook or a shrunken size', async () => {
  const { volumes } = daemon.client;
  const grow = (value: string, sizeBytes: bigint): Promise<unknown> =>
    volumes.growVolume({ name, sizeBytes, notify: { hypervisor: { case: 'hook', value } } });
  expect((await failureOf(grow('/bin/reboot', 4n * MiB))).code).toBe(Code.InvalidArgument);
  expect((await failureOf(grow('other', 4n * MiB))).code).toBe(Code.NotFound);
  expect((await failureOf(volumes.growVolume({ name, sizeBytes: MiB }))).code).toBe(Code.InvalidArgument);
  expect((await home.pool.show('v')).bytes).toBe(2 * 2 ** 20);
});

test('sockets are for admins, and refused where others could put their own', async () => {
  const open = join(scratch, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  const socket = join(open, 'qmp.sock');
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const notify = { hypervisor: { case: 'qmp', value: { socket } } } as const;
    const { volumes } = daemon.client;
    const grow = { name, sizeBytes: 8n * MiB, notify };
    expect((await failureOf(volumes.growVolume(grow, writer))).code).toBe(Code.PermissionDenied);
    const refused = await failureOf(volumes.growVolume(grow));
    expect(refused.code).not.toBe(Code.Internal);
    expect(refused.rawMessage).toContain(open);
    const freeze = { guestAgentSocket: socket };
    expect((await failureOf(volumes.snapshot({ parent: name, freeze }, writer))).code).toBe(
      Code.PermissionDenied,
    );
    expect((await failureOf(volumes.snapshot({ parent: name, freeze }))).rawMessage).toContain(open);
  } finally {
    server.close();
  }
  expect((await home.pool.show('v')).bytes, 'nothing grew').toBe(2 * 2 ** 20);
  expect((await home.pool.show('v')).snapshots, 'nothing was taken').toBe(0);
  expect(existsSync(place.auditLog)).toBe(true);
});
