import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CoppiceError } from '../../src/index.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';
import { apartFiles, makeApart } from './making.ts';
import { runChild } from './run-child.ts';
import { stateWhenOpened } from './state.ts';

/**
 * What lies in a pool right after a rollback of several volumes was interrupted, before anybody has opened it: then a server might be
 * started. It must find all of its volumes old, or all new, or no control file, without which none starts.
 */

let shared: TestPool;

beforeAll(async () => {
  shared = await makeTestPool();
});
afterAll(() => shared[Symbol.asyncDispose]());

/** What changes something. All else looks at processes, of which there are now more, now fewer. */
const changing = /^(renameat2|ioctl|fsetxattr) /;
const mostMilliseconds = 240_000;

test(
  'killed at any step, no server could be started from a mix, and the next opening finishes it',
  async () => {
    const { pool, path } = shared;
    const child = { pool: path, call: ['rollback', 'db@s1', {}], counts: changing.source } as const;
    await anew();
    const { steps } = await runChild(child);
    expect(look()).toEqual({ db: 'first', far: 'first', canStart: true });
    expect(steps.filter((step) => / active and active$/.test(step))).toHaveLength(2);

    const seen = new Set<string>();
    for (let dieAt = 1; dieAt <= steps.length; dieAt++) {
      if (look().db === 'first') await anew();
      await runChild({ ...child, dieAt });
      seen.add(await settled(`killed before step ${dieAt}: ${steps[dieAt - 1]}`));
    }
    // Else this would have looked at nothing.
    expect([...seen].sort()).toEqual([
      'first first false',
      'first first true',
      'first second false',
      // What mounts still show is kept from being started before anything is exchanged.
      'second second false',
      'second second true',
    ]);
    expect(await pool.check()).toEqual([]);
  },
  mostMilliseconds,
);

test(
  'whoever has the pool open finishes it before he does another, and nothing of it is left to come later',
  async () => {
    const { pool, path } = shared;
    const child = { pool: path, call: ['rollback', 'db@s1', {}], counts: changing.source } as const;
    await anew();
    const { steps } = await runChild(child);
    // How often it looks before that differs from run to run.
    let dieAt = steps.findIndex((step) => / active and active$/.test(step)) + 2;
    do {
      await anew();
      await runChild({ ...child, dieAt: dieAt++ });
    } while (look().db === 'second');
    expect(look()).toEqual({ db: 'first', far: 'second', canStart: false });
    await pool.rollback('db@s1');
    expect(look()).toEqual({ db: 'first', far: 'first', canStart: true });
    expect(readdirSync(join(path, '.staging'))).toEqual([]);
  },
  mostMilliseconds,
);

test(
  'where a system call fails, it is all back, or is finished by the next opening',
  async () => {
    await anew();
    const steps = await attempted(() => false);
    expect(look()).toEqual({ db: 'first', far: 'first', canStart: true });
    const outcomes = new Set<string>();
    for (let index = 0; index < steps; index++) {
      if (look().db === 'first') await anew();
      let [error, where]: [unknown, string] = [undefined, ''];
      await attempted((count, call) => {
        if (count === index) where = `EIO from call ${index + 1}, ${call}`;
        return count === index;
      }).catch((thrown) => {
        error = thrown;
      });
      if (error !== undefined) expect(error, where).toBeInstanceOf(CoppiceError);
      outcomes.add(`${error === undefined ? 'went on' : 'failed'}: ${await settled(where)}`);
    }
    expect(outcomes).toContain('failed: second second true');
  },
  mostMilliseconds,
);

async function anew(): Promise<void> {
  const { pool } = shared;
  const names = (await pool.list()).map(({ name }) => name);
  if (names.length > 0) await pool.remove(names, { withSnapshots: true });
  await makeApart(pool);
}

/** Performs it while the given function decides which of the calls that change something fail. Returns how many there were. */
async function attempted(fails: (index: number, call: string) => boolean): Promise<number> {
  let count = 0;
  observeCalls((syscall, subject) => {
    const call = `${syscall} ${subject}`;
    return changing.test(call) && fails(count++, call) ? EIO : undefined;
  });
  try {
    await shared.pool.rollback('db@s1');
  } finally {
    observeCalls(undefined);
  }
  return count;
}

const EIO = 5;

/** Looks, then opens the pool as the next process would. Returns what was there before that. */
async function settled(where: string): Promise<string> {
  const { db, far, canStart } = look();
  if (db !== far) expect(canStart, where).toBe(false);
  await stateWhenOpened(shared.path);
  // What the first exchange has decided is finished.
  expect(look(), where).toEqual({ db, far: db, canStart: true });
  return `${db} ${far} ${canStart}`;
}

function look(): { readonly db: string; readonly far: string; readonly canStart: boolean } {
  return {
    db: seedOf('db'),
    far: seedOf('far'),
    canStart: existsSync(join(shared.path, 'volumes/db/active/pg/global/pg_control')),
  };
}

function seedOf(name: string): string {
  const content = readFileSync(join(shared.path, 'volumes', name, 'active/pg/a'));
  const seed = ['first', 'second'].find((each) => {
    const [, expected] = apartFiles(name, each).find(([file]) => file === 'pg/a') ?? [];
    return expected?.equals(content);
  });
  return seed ?? 'neither';
}
