import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Pool } from '../../src/engine/pool.ts';
import { CoppiceError, openPool } from '../../src/index.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import type { TestPool } from '../support/test-pool.ts';
import { digest, disk } from './content.ts';
import { base, first, importBase, makeChain, makeVolume, second, third } from './making.ts';
import { openIn } from './open-in.ts';
import { poolInMemory } from './pool-in-memory.ts';
import { runChild, startChild } from './run-child.ts';
import { prepared, type Scenario, scenarios } from './scenarios.ts';
import { line, type State, stateWhenOpened } from './state.ts';
import { failingSteps, killSteps } from './steps.ts';

/** Opening a pool clears up what the dead left: nothing of the living, and also when it is killed itself. */

let shared: TestPool;

beforeAll(async () => {
  shared = await poolInMemory();
  await importBase(shared.pool, shared.scratch);
});

afterAll(() => shared[Symbol.asyncDispose]());

/**
 * Every fifth step, five times over: a new entry that is swept before its maker has locked it is made again, so sweeping between
 * those two steps every time would never let it go on.
 */
const turns = [0, 1, 2, 3, 4];

test.each(scenarios)('opening the pool at every step of $name takes nothing of it', async (scenario) => {
  for (const turn of turns) {
    const before = await prepared(scenario, shared.pool, shared.scratch);
    const call = scenario.call(shared.pool, shared.scratch);
    const child = startChild({ pool: shared.path, call, pause: true });
    let count = 0;
    for await (const message of child.messages()) {
      if (!('step' in message)) continue;
      if (count++ % turns.length === turn) await (await openPool(shared.path, { inline: true })).close();
      child.process.stdin?.write('.');
    }
    expect((await child.outcome()).steps.length).toBeGreaterThan(5);
    expect(await stateWhenOpened(shared.path, scenario.damaged)).toEqual(scenario.after(before));
  }
});

interface Leftover {
  readonly name: string;
  /** Has operations die. */
  leave(pool: Pool, scratch: string): Promise<void>;
  /** What the pool must hold when that has been cleared up. */
  readonly recovered: State;
}

const rolledBack: State = [
  line('base', 'template', base),
  line('vm', 'volume', first),
  line('vm@pre-rollback', 'rollback', third),
  line('vm@s1', 'user', first),
  line('vm@s2', 'user', second),
];

/** Where a rollback dies: right after which call, and which of its kind. */
const deaths = [
  ['after the exchange', /^renameat2 data and data$/, 1],
  ['while it kept the replaced state', /^ioctl SNAP_CREATE/, 2],
  ['when it had kept the replaced state', /^renameat2 pre-rollback/, 1],
  ['while it gave the replaced state up', /^ioctl SNAP_DESTROY/, 1],
] as const;

const likeBase = (entry: string): string => `${entry} ${base.length} ${digest(base)}`;

const leftovers: readonly Leftover[] = [
  ...deaths.map(([when, call, occurrence]) => ({
    name: `a rollback that died ${when}`,
    async leave(pool: Pool) {
      await makeVolume(pool);
      await dieAfter(call, occurrence, () => pool.rollback('vm@s1'));
    },
    recovered: rolledBack,
  })),
  {
    name: 'a clone and an import that died before they got their names',
    async leave(pool, scratch) {
      const image = join(scratch, 'image.raw');
      writeFileSync(image, disk('image'));
      await dieAfter(/^fsetxattr user.coppice$/, 1, () => pool.clone('base', 'copy'));
      await dieAfter(/^fsetxattr user.coppice$/, 2, () => pool.import('image', image));
    },
    recovered: [line('base', 'template', base)],
  },
  {
    name: 'snapshots of two volumes that died before they were committed',
    async leave(pool) {
      await clones(pool, 'vm-a', 'vm-b');
      await dieAfter(/^renameat2 s$/, 2, () => pool.snapshot(['vm-a@s', 'vm-b@s']));
    },
    recovered: ['base template', 'vm-a volume', 'vm-b volume'].map(likeBase),
  },
  {
    name: 'a removal of two that died when it was committed',
    async leave(pool) {
      await clones(pool, 'vm-a', 'vm-b');
      await pool.snapshot('vm-b@s');
      await dieAfter(/^renameat2 [0-9a-f-]{36}$/, 1, () => pool.remove(['vm-a', 'vm-b@s']));
    },
    recovered: ['base template', 'vm-b volume'].map(likeBase),
  },
  {
    name: 'removals that died after the name was gone',
    async leave(pool) {
      await makeVolume(pool);
      await makeChain(pool);
      await dieAfter(/^renameat2 vm\./, 1, () => pool.remove('vm', { withSnapshots: true }));
      await dieAfter(/^renameat2 depth-17\./, 1, () => pool.remove('depth-17'));
      await dieAfter(/^ioctl SNAP_DESTROY/, 1, () => pool.remove('depth-18'));
    },
    recovered: [
      line('base', 'template', base),
      ...Array.from({ length: 16 }, (_, index) => line(`depth-${index + 1}`, 'volume', base)),
      'depth-17 tombstone',
      'depth-18 tombstone',
    ].sort(),
  },
];

describe.each(leftovers)('recovery from $name', (leftover) => {
  const scenario: Scenario = {
    name: leftover.name,
    prepare: (pool, scratch) => leftover.leave(pool, scratch),
    call: () => ['open'],
    after: (before) => before,
  };

  test('comes to the same end when it is killed at any step, twice', async () => {
    await prepared(scenario, shared.pool, shared.scratch);
    const whole = await runChild({ pool: shared.path, call: ['open'] });
    expect(await stateWhenOpened(shared.path, scenario.damaged), 'in one go').toEqual(leftover.recovered);
    for (const step of killSteps(whole)) {
      await prepared(scenario, shared.pool, shared.scratch);
      await runChild({ pool: shared.path, call: ['open'], dieAt: step });
      await runChild({ pool: shared.path, call: ['open'], dieAt: step });
      const where = `killed before step ${step} of ${whole.steps.length}: ${whole.steps[step - 1]}`;
      expect(await stateWhenOpened(shared.path, scenario.damaged), where).toEqual(leftover.recovered);
    }
  });

  test('comes to the same end after any system call of it has failed', async () => {
    const EIO = 5;
    const opening = async (failing?: number): Promise<number> => {
      await prepared(scenario, shared.pool, shared.scratch);
      const open = openIn(shared.path);
      let [count, where] = [0, 'no call has failed'];
      observeCalls((syscall, subject) => {
        if (++count !== failing) return undefined;
        where = `failed: call ${failing}, ${syscall} ${subject}`;
        return EIO;
      });
      const opened = await openPool(shared.path, { inline: true }).catch((error: unknown) => error);
      observeCalls(undefined);
      if (opened instanceof Pool) await opened.close();
      else expect(opened, where).toBeInstanceOf(CoppiceError);
      expect(openIn(shared.path), where).toEqual(open);
      expect(await stateWhenOpened(shared.path, scenario.damaged), where).toEqual(leftover.recovered);
      return count;
    };
    for (const failing of failingSteps(await opening())) await opening(failing);
  });
});

async function clones(pool: Pool, ...names: readonly string[]): Promise<void> {
  for (const name of names) await pool.clone('base', name, { durability: 'deferred' });
}

/** As if the process had died right after a call: nothing that comes later reaches the storage, and its locks are gone. */
async function dieAfter(pattern: RegExp, occurrence: number, run: () => Promise<unknown>): Promise<void> {
  let seen = 0;
  observeCalls((syscall, subject) => {
    if (seen >= occurrence) throw new Error('dead');
    if (pattern.test(`${syscall} ${subject}`)) seen++;
    return undefined;
  });
  try {
    await expect(run()).rejects.toThrow('dead');
  } finally {
    observeCalls(undefined);
  }
}
