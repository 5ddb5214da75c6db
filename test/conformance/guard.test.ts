import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { CoppiceError, type Pool } from '../../src/index.ts';
import { readProcesses } from '../../src/linux/processes.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { end } from '../support/marks.ts';
import { conformance } from './suite.ts';

conformance('guard', (suite) => {
  const library = new URL('../../src/index.ts', import.meta.url).href;

  async function guarded(): Promise<{
    name: string;
    path: string;
    state(): Promise<string>;
    change(to: string): Promise<void>;
  }> {
    const { name, path } = await suite.volume();
    // The path of a block device means the new state only when udev has seen to that: so it is asked for each time.
    const now = (): Promise<string> => suite.pool.diskPath(name);
    const change = async (to: string): Promise<void> =>
      writeFileSync(await now(), to.padEnd(8), { flag: 'r+', flush: true });
    await change('first');
    return {
      name,
      path,
      change,
      state: async () =>
        readFileSync(await now(), 'latin1')
          .slice(0, 8)
          .trim(),
    };
  }

  test('a change that succeeds stays, and can be undone later', async () => {
    const { pool } = suite;
    const { name, state, change } = await guarded();
    const kept = await pool.guard(name, async ({ snapshot, id }) => {
      expect(await pool.guards(name)).toMatchObject([{ id, isAlive: true, isBegun: true }]);
      await change('second');
      return snapshot;
    });
    expect(kept.result).toBe(kept.snapshot);
    expect(await state()).toBe('second');
    expect(await pool.guards(name)).toEqual([]);
    expect(await pool.listSnapshots(name)).toMatchObject([{ reference: kept.snapshot, reason: 'guard' }]);
    await pool.rollback(kept.snapshot);
    expect(await state()).toBe('first');
  });

  test('a change that fails is undone, and what it had come to is kept', async () => {
    const { pool } = suite;
    const { name, state, change } = await guarded();
    const reason = new Error('it does not work');
    const failure = await failureOf(
      pool.guard(name, async () => {
        await change('second');
        throw reason;
      }),
    );
    expect(failure).toMatchObject({ code: 'cancelled', cause: reason });
    expect(failure.message).toContain('it does not work');
    expect(await state()).toBe('first');
    expect(await pool.guards(name)).toEqual([]);
    await pool.rollback(Reflect.get(failure, 'undo') as string);
    expect(await state()).toBe('second');
  });

  test('a change that takes too long or is given up is told so, waited for and undone', async () => {
    const { pool } = suite;
    const { name, state, change } = await guarded();
    const untilTold = async ({ signal }: { signal: AbortSignal }): Promise<void> => {
      await change('second');
      if (!signal.aborted) await once(signal, 'abort');
      await change('third'); // as long as it goes on, it may go on changing something
    };
    const late = await failureOf(pool.guard(name, untilTold, { timeoutMilliseconds: 100 }));
    expect(late.message).toContain('it took more than 0.1 s');
    expect(await state()).toBe('first');
    const controller = new AbortController();
    const given = failureOf(pool.guard(name, untilTold, { signal: controller.signal }));
    while ((await pool.guards(name))[0]?.isBegun !== true || (await state()) !== 'second')
      await new Promise(setImmediate);
    controller.abort();
    expect(await given).toMatchObject({ cause: { code: 'cancelled' } });
    expect(await state()).toBe('first');
  });

  test('one within another is undone alone, or with it; beside it there can be none', async () => {
    const { pool } = suite;
    const { name, state, change } = await guarded();
    await pool.guard(name, async ({ id }) => {
      await change('outer');
      const inner = pool.guard(
        name,
        async () => {
          await change('inner');
          const { blockers } = await refusal(() => pool.guard(name, async () => {}), 'blocked');
          expect(blockers).toMatchObject([
            { kind: 'guard', what: expect.stringContaining(`process ${process.pid}`) },
          ]);
          await refusal(() => pool.guard(name, async () => {}, { within: id }), 'blocked');
          throw new Error('no');
        },
        { within: id },
      );
      await failureOf(inner);
      expect(await state()).toBe('outer');
    });
    expect(await state()).toBe('outer');
    await failureOf(
      pool.guard(name, async ({ id }) => {
        await pool.guard(name, async () => change('inner'), { within: id });
        throw new Error('no');
      }),
    );
    expect(await state()).toBe('outer');
    await refusal(() => pool.guard(name, async () => {}, { within: 'over' }), 'not_found');
  });

  test('what still has the volume open stands in the way, and nothing is undone unseen', async () => {
    const { pool } = suite;
    const { name, path, state, change } = await guarded();
    const user = await holdOpen(path);
    const failure = await failureOf(
      pool.guard(name, async () => {
        await change('second');
        throw new Error('no');
      }),
    );
    expect(failure).toMatchObject({ code: 'blocked', cause: { message: 'no' } });
    expect(failure.message).toContain(`process ${user.pid}`);
    expect(await state()).toBe('second');
    await refusal(() => pool.guard(name, async () => {}), 'blocked');
    await refusal(() => pool.rename(name, suite.name()), 'blocked');
    await user[Symbol.asyncDispose]();
    expect(await state()).toBe('second');
    expect(await pool.guards(name)).toMatchObject([{ failed: true }]);
    expect(await pool.recoverGuard(name, 'undo')).toMatchObject({ outcome: 'undone' });
    expect(await state()).toBe('first');
  });

  test('whoever is killed meanwhile has it undone, and what it was running ended', async () => {
    const { pool } = suite;
    const { name, path, state } = await guarded();
    const child = await changing(library, pool.path, name, path);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await untilOver(pool, name);
    expect(await state()).toBe('first');
    expect(readProcesses().filter((each) => isSleeping(each.pid, name))).toEqual([]);
  });

  test('after a power cut it is found, and undone or left as somebody says', async () => {
    const { pool } = suite;
    for (const [what, expected] of [
      ['undo', 'first'],
      ['accept', 'second'],
    ] as const) {
      const { name, path, state } = await guarded();
      const child = await changing(library, pool.path, name, path);
      // Nobody is left who could see to it.
      for (const { pid } of readProcesses().filter((each) => isOf(each.pid, 'guard-supervisor', name)))
        process.kill(pid, 'SIGKILL');
      child.kill('SIGKILL');
      await once(child, 'exit');
      endSleeping(name);
      expect(await pool.guards(name)).toMatchObject([{ isAlive: false, isBegun: true }]);
      const { blockers } = await refusal(() => pool.guard(name, async () => {}), 'blocked');
      expect(blockers[0]?.remedy).toContain(`coppice guard ${name} --recover`);
      const recovered = await pool.recoverGuard(name, what);
      expect(recovered.outcome).toBe(what === 'undo' ? 'undone' : 'accepted');
      expect(await state()).toBe(expected);
      expect(await pool.guards(name)).toEqual([]);
      await refusal(() => pool.recoverGuard(name, what), 'not_found');
    }
  });

  test('a snapshot that can not be taken begins nothing', async () => {
    const { pool } = suite;
    const { name } = await guarded();
    let isRun = false;
    const run = async (): Promise<void> => {
      isRun = true;
    };
    await refusal(() => pool.guard(name, run, { consistency: 'application' }), 'invalid_argument');
    expect(isRun).toBe(false);
    expect(await pool.guards(name)).toEqual([]);
    expect(await pool.listSnapshots(name)).toEqual([]);
    await refusal(() => pool.guard('nothing', run), 'not_found');
  });
});

async function failureOf(promise: Promise<unknown>): Promise<CoppiceError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CoppiceError) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

/** Another process that has changed a volume under guard, by a program that goes on running, and goes on itself. */
async function changing(
  library: string,
  pool: string,
  name: string,
  path: string,
): Promise<ReturnType<typeof spawn>> {
  const script = `
    const { spawn } = await import('node:child_process');
    const { openPool } = await import(${JSON.stringify(library)});
    const [pool, name, path] = process.argv.slice(1);
    const opened = await openPool(pool, { inline: true });
    await opened.guard(name, async ({ runs }) => {
      const child = spawn('sh', ['-c', 'read -r _; printf "second  " | dd of="$1" conv=notrunc status=none; echo changed; exec sleep 1000', name, path], { stdio: ['pipe', 'inherit', 'inherit'], argv0: name });
      await runs(child.pid);
      child.stdin.end('go on');
      await new Promise(() => setInterval(() => {}, 1e6));
    });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, pool, name, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, MARK: `guarding ${name}` },
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
    endSleeping(name);
  });
  if (!child.stdout) throw new Error('no output');
  await once(child.stdout, 'data');
  return child;
}

function endSleeping(name: string): void {
  for (const { pid } of readProcesses().filter((each) => isSleeping(each.pid, name))) end(pid);
}

function isOf(pid: number, ...words: readonly string[]): boolean {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return words.every((word) => line.includes(word));
  } catch {
    return false;
  }
}

/** What `changing` has started for this volume, by the variable that it has from it. */
function isSleeping(pid: number, name: string): boolean {
  try {
    return (
      isOf(pid, 'sleep') &&
      readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`MARK=guarding ${name}`)
    );
  } catch {
    return false;
  }
}

/** A process of its own sees to it: there is nothing to wait for but that it has. */
async function untilOver(pool: Pool, name: string): Promise<void> {
  while ((await pool.guards(name)).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
}
