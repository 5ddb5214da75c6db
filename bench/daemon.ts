import { setTimeout as pause } from 'node:timers/promises';
import { BenchDaemon, type Clients } from './support/daemon.ts';
import { compare, type Measured, measured, time } from './support/measure.ts';
import { type BenchPool, benchPool, makeImage } from './support/pool.ts';

const clients = 16;
const deferred = 2000;
const durable = 640;
const rounds = 9;
const reads = 400;
const readRounds = 5;
/** After so many calls, Node has compiled what a call runs through. */
const warmUp = 6000;

/**
 * The daemon over its unix socket, with 16 clients, against the library with 16 in flight: both on the same pool, in turns. The clients are
 * a process of their own that does no more than it must, as this machine has two processors for all.
 */
export async function daemon(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await using server = await BenchDaemon.start(bench.path, 'rates');
  const load = server.clients();
  const clone = async (prefix: string, many: number, isDurable: boolean): Promise<number> => {
    const task = { task: 'clone', prefix, many, clients, durable: isDurable } as const;
    return (many / (await load.ask(task)).milliseconds) * 1000;
  };
  await clone('warm', warmUp, false);
  await cloneByLibrary(bench, 'warm-library', warmUp, 'deferred');
  await server.longestDelay();
  const fast = await compare(
    rounds,
    (round) => clone(`fast-${round}`, deferred, false),
    (round) => cloneByLibrary(bench, `library-fast-${round}`, deferred, 'deferred'),
  );
  const delayFast = await server.longestDelay();
  const safe = await compare(
    rounds,
    (round) => clone(`safe-${round}`, durable, true),
    (round) => cloneByLibrary(bench, `library-safe-${round}`, durable, 'durable'),
  );
  const tails = await readsUnderLoad(server);
  return [
    measured(
      'daemon, deferred clones',
      'of the rate of the library',
      fast.map(({ a, b }) => a / b),
      { atLeast: 0.3 },
    ),
    measured(
      'daemon, deferred clones, daemon',
      'clones/s',
      fast.map(({ a }) => a),
    ),
    measured(
      'daemon, deferred clones, library',
      'clones/s',
      fast.map(({ b }) => b),
    ),
    measured(
      'daemon, durable clones',
      'of the rate of the library',
      safe.map(({ a, b }) => a / b),
      { atLeast: 0.8 },
    ),
    measured(
      'daemon, durable clones, daemon',
      'clones/s',
      safe.map(({ a }) => a),
    ),
    measured(
      'daemon, durable clones, library',
      'clones/s',
      safe.map(({ b }) => b),
    ),
    measured(
      'daemon, p99 of a read under 16 clients',
      'times its p99 when idle',
      tails.map(({ busy, idle }) => busy / idle),
      { atMost: 5 },
    ),
    measured(
      'daemon, p99 of a read, idle',
      'ms',
      tails.map(({ idle }) => idle),
    ),
    measured(
      'daemon, p99 of a read, 16 clients',
      'ms',
      tails.map(({ busy }) => busy),
    ),
    measured('daemon, longest delay of the event loop', 'ms', [delayFast], { atMost: 20 }),
  ];
}

const volumes = 20_000;
const watchers = 100;
const changes = 10_000;

/** The daemon with 20,000 volumes: its start, its memory with 100 watchers, and how many events one of them gets. */
export async function daemonAtScale(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await bench.pool.cloneMany('template', 'vm', volumes, { durability: 'deferred' });
  await bench.pool.sync();
  const starts: number[] = [];
  for (let round = 0; round < 5; round++) {
    await using once = await BenchDaemon.start(bench.path, `start-${round}`);
    starts.push(once.startMilliseconds);
  }
  const memory = await residentWith(bench, watchers);
  await using server = await BenchDaemon.start(bench.path, 'scale');
  const subscriber = server.clients();
  await subscriber.ask({ task: 'watch', watchers: 1 });
  const single = await eventsPerSecond(server.clients(), subscriber);
  return [
    measured(`daemon, start with ${volumes} volumes`, 'ms', starts, { atMost: 1000 }),
    measured('daemon, events to one subscriber', 'events/s', [single.rate], {
      atLeast: 10_000,
    }),
    measured('daemon, events lost', 'events', [single.lost], { atMost: 0 }),
    measured(`daemon, memory with ${volumes} volumes and ${watchers} watchers`, 'MB', [memory / 1e6], {
      atMost: 250,
    }),
  ];
}

/** Bytes that a daemon has when so many have the present state, and wait. */
async function residentWith(bench: BenchPool, many: number): Promise<number> {
  await using server = await BenchDaemon.start(bench.path, 'watched');
  await server.clients().ask({ task: 'watch', watchers: many });
  await pause(1000);
  return server.residentBytes;
}

/** All changes come at once, as those who are removed together go together. */
async function eventsPerSecond(
  clients: Clients,
  subscriber: Clients,
): Promise<{ readonly rate: number; readonly lost: number }> {
  const { events: [before = 0] = [] } = await subscriber.ask({ task: 'watched' });
  await clients.ask({ task: 'remove', prefix: 'vm', many: changes });
  let got = 0;
  let milliseconds = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 100 && got < changes; tries++) {
    await pause(100);
    const told = await subscriber.ask({ task: 'watched' });
    got = (told.events?.[0] ?? 0) - before;
    milliseconds = told.milliseconds;
  }
  return { rate: (got / milliseconds) * 1000, lost: changes - got };
}

interface Tail {
  readonly idle: number;
  readonly busy: number;
}

async function readsUnderLoad(server: BenchDaemon): Promise<Tail[]> {
  const [reader, load] = [server.clients(), server.clients()];
  const tails: Tail[] = [];
  const read = async (): Promise<number> =>
    percentile99((await reader.ask({ task: 'read', many: reads })).times ?? []);
  await read();
  for (let round = 0; round < readRounds; round++) {
    const idle = await read();
    const busy = load.ask({
      task: 'clone',
      prefix: `load-${round}`,
      many: deferred,
      clients,
      durable: false,
    });
    tails.push({ idle, busy: await read() });
    await busy;
  }
  return tails;
}

function percentile99(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN;
}

async function cloneByLibrary(
  { pool }: BenchPool,
  prefix: string,
  many: number,
  durability: 'durable' | 'deferred',
): Promise<number> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < many) await pool.clone('template', `${prefix}-${next++}`, { durability });
  };
  const milliseconds = await time(() => Promise.all(Array.from({ length: clients }, lane)));
  return (many / milliseconds) * 1000;
}
