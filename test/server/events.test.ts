import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type CoppiceClient,
  type Event,
  EventType,
  type WatchEventsResponse,
} from '../../src/client/index.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** A watch: the present state, then every change, also of other processes; from where one left off, or anew and said so. */

const place = daemonPlace();
const parent = 'pools/p';
let home: TestPool;
let daemon: Daemon;

beforeAll(async () => {
  home = await makeTestPool();
  await home.pool.create('there', { bytes: 4096 });
  await home.pool.snapshot('there@s');
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

test('begins with what is there, then tells changes of its own and of others, in order', async () => {
  using watch = new Watch(daemon.client);
  await watch.until(({ synced }) => synced);
  expect(watch.told()).toEqual(['+there', '+there@s']);
  expect(watch.events.every((event) => event.initial)).toBe(true);
  watch.events.length = 0;

  const { volumes } = daemon.client;
  await volumes.createVolume({ parent, volumeId: 'own', sizeBytes: 4096n });
  await volumes.snapshot({ parent: `${parent}/volumes/own`, snapshotId: 's1' });
  await volumes.renameVolume({ name: `${parent}/volumes/own`, volumeId: 'own2' });
  await volumes.deleteVolume({ name: `${parent}/volumes/own2`, withSnapshots: true });
  await watch.untilTold('-own2');
  expect(watch.told().filter((each) => !each.startsWith('~'))).toEqual(
    expect.arrayContaining(['+own', '+own@s1', '-own', '+own2', '-own2']),
  );
  expect(watch.told().indexOf('+own')).toBeLessThan(watch.told().indexOf('-own'));
  watch.events.length = 0;

  // Another process, by the library: this one.
  const others = await openAsOther();
  await others.create('other', { bytes: 4096 });
  await others.snapshot('other@s');
  await watch.untilTold('+other@s');
  await others.grow('other', { bytes: 8192 });
  await watch.until(() =>
    watch.events.some(
      (event) => event.resource.case === 'volume' && event.resource.value.sizeBytes === 8192n,
    ),
  );
  await others.remove(['other'], { withSnapshots: true });
  await watch.untilTold('-other');
  expect(watch.events.every((event) => !event.initial)).toBe(true);
});

test('resumes from a version without a gap, and says when it can not', async () => {
  const { volumes } = daemon.client;
  const version = await (async () => {
    using watch = new Watch(daemon.client);
    await watch.until(({ synced }) => synced);
    return watch.version;
  })();
  for (let number = 0; number < 5; number++)
    await volumes.createVolume({ parent, volumeId: `gap-${number}`, sizeBytes: 4096n });
  {
    using watch = new Watch(daemon.connect(), version);
    await watch.untilTold('+gap-4');
    expect(watch.told()).toEqual(['+gap-0', '+gap-1', '+gap-2', '+gap-3', '+gap-4']);
    expect(watch.isResync).toBe(false);
  }
  for (const unknown of ['nonsense', '0.0', `${version}0000000`, `${version.split('.')[0]}.-1`]) {
    using watch = new Watch(daemon.connect(), unknown);
    await watch.until(({ synced }) => synced);
    expect(watch.isResync, unknown).toBe(true);
    expect(watch.told()).toContain('+gap-4');
  }
  await daemon.kill();
  await home.pool.create('while-away', { bytes: 4096 });
  daemon = await start();
  using watch = new Watch(daemon.client, version);
  await watch.until(({ synced }) => synced);
  expect(watch.isResync).toBe(true);
  expect(watch.told()).toContain('+while-away');
});

test('a client that reads nothing holds up nobody', async () => {
  const slow = daemon.connect();
  const controller = new AbortController();
  const stream = slow.events.watchEvents({ parent }, { signal: controller.signal })[Symbol.asyncIterator]();
  await stream.next();
  const { volumes } = daemon.client;
  // Each renaming is two events.
  await volumes.createVolume({ parent, volumeId: 'busy', sizeBytes: 4096n });
  let name = 'busy';
  for (let number = 0; number < 300; number++) {
    const next = `busy-${number}`;
    await volumes.renameVolume({ name: `${parent}/volumes/${name}`, volumeId: next, durability: 2 });
    name = next;
  }
  using watch = new Watch(daemon.connect());
  await watch.until(({ synced }) => synced);
  expect(watch.told()).toContain(`+${name}`);
  controller.abort();
  slow.close();
  // The one who left is forgotten: a new change reaches the others.
  await volumes.deleteVolume({ name: `${parent}/volumes/${name}` });
  await watch.untilTold(`-${name}`);
});

/** A pool that the daemon takes for that of another process: its own session. */
async function openAsOther(): Promise<TestPool['pool']> {
  const { openPool } = await import('../../src/index.ts');
  const pool = await openPool(home.path, { inline: true, auditLog: place.auditLog });
  closing.push(() => pool.close());
  return pool;
}
const closing: Array<() => Promise<void>> = [];
afterAll(() => Promise.all(closing.map((close) => close())));

/** Somebody who watches. */
class Watch implements Disposable {
  readonly events: Event[] = [];
  version = '';
  isResync = false;
  readonly #controller = new AbortController();
  readonly #stream: AsyncIterator<WatchEventsResponse>;

  constructor(client: CoppiceClient, version = '') {
    const { signal } = this.#controller;
    this.#stream = client.events.watchEvents({ parent, version }, { signal })[Symbol.asyncIterator]();
  }

  async until(is: (response: WatchEventsResponse) => boolean): Promise<void> {
    for (;;) {
      const { value, done } = await Promise.race([
        this.#stream.next(),
        new Promise<never>((_, reject) =>
          setTimeout(() => reject(new Error(`told so far: ${this.told().join(' ')}`)), 20_000).unref(),
        ),
      ]);
      if (done) throw new Error('The watch has ended.');
      const response = value as WatchEventsResponse;
      this.events.push(...response.events);
      if (response.version !== '') this.version = response.version;
      if (response.resync) this.isResync = true;
      if (is(response)) return;
    }
  }

  /** Waits for a volume or snapshot: `+NAME`, `-NAME`, `~NAME`. */
  async untilTold(what: string): Promise<void> {
    if (!this.told().includes(what)) await this.until(() => this.told().includes(what));
  }

  told(): string[] {
    return this.events.flatMap(({ type, resource }) => {
      if (resource.case !== 'volume' && resource.case !== 'snapshot') return [];
      const short = resource.value.name.replace(/^pools\/p\/volumes\//, '').replace('/snapshots/', '@');
      return [`${signs[type]}${short}`];
    });
  }

  [Symbol.dispose](): void {
    this.#controller.abort();
  }
}

const signs: Readonly<Record<EventType, string>> = {
  [EventType.UNSPECIFIED]: '?',
  [EventType.ADDED]: '+',
  [EventType.CHANGED]: '~',
  [EventType.REMOVED]: '-',
};
