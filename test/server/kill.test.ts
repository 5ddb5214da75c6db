import { setTimeout as pause } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CoppiceClient, connectCoppice, Durability } from '../../src/client/index.ts';
import { builtCommand } from '../support/built.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/**
 * kill -9 under load, again and again. After each restart, everything that was answered is there, and what was not is whole or not there: sent
 * again with its request id it is done once. A model says what must be there in the end.
 */

const rounds = process.env['COPPICE_LONG'] === '1' ? 100 : 8;
const lanes = 6;
const place = daemonPlace();
const pool = 'pools/p';
const volume = (name: string): string => `${pool}/volumes/${name}`;

let home: TestPool;
let command: readonly string[];

beforeAll(async () => {
  command = [builtCommand()];
  home = await makeTestPool();
  await home.pool.create('base', { bytes: 2 ** 20 });
}, 240_000);
afterAll(() => home[Symbol.asyncDispose]());

test(`${rounds} times`, { timeout: rounds * 30_000 }, async () => {
  const random = seeded(20_261_122);
  const model = new Map<string, Set<string>>([['base', new Set()]]);
  let pending: Operation[] = [];
  for (let round = 0; round < rounds; round++) {
    await using daemon = await start();
    // What was under way when it was killed happens once, whether it had happened or not.
    for (const operation of pending) await operation.run(daemon.client);
    for (const operation of pending) operation.apply(model);
    await requireState(model, `round ${round}`);
    const load = new Load(model, random, `k${round}`);
    const running = load.run(place.socket);
    await pause(50 + random(400));
    await daemon.kill();
    pending = await running;
  }
  await using daemon = await start();
  for (const operation of pending) await operation.run(daemon.client);
  for (const operation of pending) operation.apply(model);
  await requireState(model, 'the end');
  expect(await daemon.stop()).toBe(0);
});

async function start(): Promise<Daemon> {
  const daemon = await startDaemon({ p: home.path }, place, { command });
  await daemon.said('pool available');
  return daemon;
}

/** The pool itself, and not what the daemon says of it. */
async function requireState(model: ReadonlyMap<string, ReadonlySet<string>>, when: string): Promise<void> {
  const names = (await home.pool.list()).map((each) => each.name);
  expect(names, when).toEqual([...model.keys()].sort());
  const snapshots = (await home.pool.listSnapshots()).map((each) => each.reference).sort();
  const wanted = [...model].flatMap(([name, of]) => [...of].map((each) => `${name}@${each}`));
  expect(snapshots, when).toEqual(wanted.sort());
  expect(await home.pool.check(), when).toEqual([]);
}

interface Operation {
  readonly run: (client: CoppiceClient) => Promise<unknown>;
  readonly apply: (model: Map<string, Set<string>>) => void;
}

/** Clients that each work on volumes of their own. */
class Load {
  readonly #model: Map<string, Set<string>>;
  readonly #random: (below: number) => number;
  readonly #prefix: string;
  #count = 0;

  constructor(model: Map<string, Set<string>>, random: (below: number) => number, prefix: string) {
    this.#model = model;
    this.#random = random;
    this.#prefix = prefix;
  }

  /** Until the daemon dies. Returns what was not answered. */
  async run(socket: string): Promise<Operation[]> {
    const unanswered = await Promise.all(
      Array.from({ length: lanes }, async (_, lane) => {
        using client = connectCoppice({ socket });
        for (;;) {
          const operation = this.#next(lane);
          try {
            await operation.run(client);
          } catch (error) {
            const { code } = ConnectError.from(error);
            // Only the death of the daemon is a reason not to answer.
            expect(
              [Code.Unavailable, Code.Internal, Code.Canceled, Code.Aborted, Code.Unknown],
              String(error),
            ).toContain(code);
            return operation;
          }
          operation.apply(this.#model);
        }
      }),
    );
    return unanswered;
  }

  #next(lane: number): Operation {
    const requestId = `${this.#prefix}-${lane}-${this.#count++}`;
    const durability = this.#random(2) === 0 ? Durability.DEFERRED : Durability.DURABLE;
    const own = [...this.#model.keys()].filter((name) => name.endsWith(`-l${lane}`));
    const name = own[this.#random(Math.max(1, own.length))];
    const fresh = `${requestId}-l${lane}`;
    const kind = name === undefined ? 0 : this.#random(6);
    if (name === undefined || kind <= 1)
      return {
        run: ({ volumes }) =>
          kind === 0
            ? volumes.clone({ source: volume('base'), volumeId: fresh, durability, requestId })
            : volumes.createVolume({
                parent: pool,
                volumeId: fresh,
                sizeBytes: 4096n,
                durability,
                requestId,
              }),
        apply: (model) => model.set(fresh, new Set()),
      };
    if (kind === 2)
      return {
        run: ({ volumes }) =>
          volumes.snapshot({ parent: volume(name), snapshotId: `s-${requestId}`, durability, requestId }),
        apply: (model) => model.get(name)?.add(`s-${requestId}`),
      };
    if (kind === 3)
      return {
        run: ({ volumes }) =>
          volumes.renameVolume({ name: volume(name), volumeId: fresh, durability, requestId }),
        apply(model) {
          model.set(fresh, model.get(name) ?? new Set());
          model.delete(name);
        },
      };
    if (kind === 4)
      return {
        run: ({ volumes }) =>
          volumes.growVolume({ name: volume(name), sizeBytes: 2n ** 21n, durability, requestId }),
        apply: () => {},
      };
    return {
      run: ({ volumes }) =>
        volumes.deleteVolume({ name: volume(name), withSnapshots: true, durability, requestId }),
      apply: (model) => model.delete(name),
    };
  }
}

/** The same numbers in each run: xorshift. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.abs(state) % below;
  };
}
