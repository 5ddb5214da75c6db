import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectCoppice } from '../../src/client/index.ts';
import { type Daemon, startDaemon } from '../support/daemon-process.ts';
import { scratchDirectory } from '../support/devices.ts';
import {
  closesOnExec,
  listeningNetworkSocket,
  listeningSocket,
  type NotifySocket,
  notifySocket,
} from '../support/systemd-sockets.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** This plays systemd: it opens the socket, passes it on, and listens to what the daemon says of itself. */

let home: TestPool;
beforeAll(async () => {
  home = await makeTestPool();
});
afterAll(() => home[Symbol.asyncDispose]());

interface Played extends AsyncDisposable {
  readonly daemon: Daemon;
  readonly notify: NotifySocket;
  readonly socket: string;
}

function play(environment: NodeJS.ProcessEnv = {}): Played {
  const directory = scratchDirectory('systemd');
  const socket = join(directory, 'coppice.sock');
  const listening = listeningSocket(socket);
  const notify = notifySocket(join(directory, 'notify'));
  const daemon = startDaemon(
    [
      ...['--pool', `vms=${home.path}`, '--state', join(directory, 'state')],
      ...['--audit-log', join(directory, 'audit.jsonl'), '--tokens', join(directory, 'tokens.json')],
    ],
    {
      environment: { NOTIFY_SOCKET: join(directory, 'notify'), ...environment },
      descriptors: [listening.fd],
    },
  );
  return {
    daemon,
    notify,
    socket,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      listening[Symbol.dispose]();
      notify[Symbol.dispose]();
    },
  };
}

test('says that it is ready, that it lives, that it stops; and serves the socket that it was given', async () => {
  await using played = play({ WATCHDOG_USEC: '200000' });
  const { daemon, notify, socket } = played;
  // Before it runs, clients can connect already: this one waits for it.
  using client = connectCoppice({ socket });
  const listed = client.pools.listPools({});
  expect(await notify.until('READY=1')).toEqual(['READY=1\nSTATUS=Serving vms']);
  expect((await listed).pools.map(({ name }) => name)).toEqual(['pools/vms']);
  expect(daemon.log()).toContain('the socket 3 of systemd');
  expect(closesOnExec(daemon.pid, 3)).toBe(true);
  for (let times = 0; times < 3; times++) expect(await notify.until('WATCHDOG=1')).toEqual(['WATCHDOG=1']);
  client.close();
  daemon.process.kill('SIGTERM');
  const last = await notify.until('STOPPING=1');
  expect(last.filter((each) => !each.startsWith('WATCHDOG'))).toEqual(['STOPPING=1']);
  expect(await daemon.ended).toBe(0);
});

test('leaves the socket of systemd where it is, so that the next client starts it again', async () => {
  await using played = play();
  const { daemon, notify, socket } = played;
  await notify.until('READY=1');
  daemon.process.kill('SIGTERM');
  expect(await daemon.ended).toBe(0);
  // It is queued in the socket, which is still there: nobody answers, and nobody refuses.
  using client = connectCoppice({ socket });
  await expect(client.pools.listPools({}, { timeoutMs: 200 })).rejects.toThrow(/deadline_exceeded/);
});

test('tells no watchdog that is for another process, and takes no sockets of another', async () => {
  const directory = scratchDirectory('systemd');
  using notify = notifySocket(join(directory, 'notify'));
  await using daemon = startDaemon(
    [
      ...['--pool', `vms=${home.path}`, '--state', join(directory, 'state')],
      ...['--audit-log', join(directory, 'audit.jsonl'), '--socket', join(directory, 'own.sock')],
    ],
    {
      environment: {
        NOTIFY_SOCKET: join(directory, 'notify'),
        ...{ LISTEN_PID: '1', LISTEN_FDS: '1', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' },
      },
    },
  );
  await notify.until('READY=1');
  expect(daemon.log()).toContain(`unix:${join(directory, 'own.sock')}`);
  daemon.process.kill('SIGTERM');
  expect(await notify.until('STOPPING=1')).toEqual(['STOPPING=1']);
  expect(await daemon.ended).toBe(0);
});

test('refuses a socket of the network, which would let everybody in', async () => {
  const directory = scratchDirectory('systemd');
  using listening = listeningNetworkSocket();
  await using daemon = startDaemon(
    [
      ...['--pool', `vms=${home.path}`, '--state', join(directory, 'state')],
      ...['--audit-log', join(directory, 'audit.jsonl')],
    ],
    { descriptors: [listening.fd] },
  );
  expect(await daemon.ended).toBe(2);
  expect(daemon.log()).toMatch(/^coppice: The socket 3 of systemd is no unix socket; use --listen/m);
});
