import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';
import { noise } from './content.ts';
import { base, importBase } from './making.ts';
import { finished, runChild, startChild } from './run-child.ts';
import { prepared, type Scenario } from './scenarios.ts';
import { expectSound, line, readState, type State } from './state.ts';
import { killSteps } from './steps.ts';

/** Processes that are killed while others work for them: threads, and the programs that read and write images. */

const MiB = 2 ** 20;

let shared: TestPool;

beforeAll(async () => {
  shared = await makeTestPool();
  await importBase(shared.pool, shared.scratch);
});

afterAll(() => shared[Symbol.asyncDispose]());

test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
  'a process killed in the middle of 8 clones in threads, %d of them acknowledged, leaves each whole or not there',
  async (acknowledged) => {
    const before = await prepared(nothing, shared.pool, shared.scratch);
    const names = Array.from({ length: 8 }, (_, index) => `copy-${index}`);
    const together = names.map((name) => ['clone', 'base', name, {}] as const);
    const child = startChild({ pool: shared.path, call: ['list'], workers: true, together });
    const done: string[] = [];
    for await (const message of child.messages()) {
      if ('done' in message) done.push(names[message.done] ?? '');
      if (('started' in message || 'done' in message) && done.length >= acknowledged)
        child.process.kill('SIGKILL');
    }
    await child.outcome();
    const state = await afterwards();
    const copy = (name: string): string => line(name, 'volume', base);
    expect(state.filter((entry) => !before.includes(entry) && !names.map(copy).includes(entry))).toEqual([]);
    expect(state).toEqual(expect.arrayContaining([...before, ...done.map(copy)]));
  },
);

describe('a process killed while qemu-img works for it', () => {
  let image: string;

  beforeAll(() => {
    image = join(shared.scratch, 'large.qcow2');
    const raw = join(shared.scratch, 'large.raw');
    writeFileSync(raw, noise('large', 64 * MiB));
    runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image]);
    rmSync(raw);
  });

  test.each(['bwrap', 'qemu-img check', 'qemu-img convert'])(
    'an import: %s ends with it, and nothing is left',
    async (command) => {
      const before = await prepared(nothing, shared.pool, shared.scratch);
      while (!(await killWhile(command, ['import', 'large', image, {}])))
        await prepared(nothing, shared.pool, shared.scratch);
      expect(await afterwards()).toEqual(before);
    },
  );

  test('an export: qemu-img convert ends with it, and there is no file of that name', async () => {
    const imported: Scenario = {
      ...nothing,
      async prepare(pool) {
        await pool.import('large', image);
      },
    };
    const before = await prepared(imported, shared.pool, shared.scratch);
    const directory = join(shared.scratch, 'exported');
    mkdirSync(directory);
    const file = join(directory, 'large.qcow2');
    while (!(await killWhile('qemu-img convert', ['export', 'large', file, { format: 'qcow2' }])))
      rmSync(file);
    expect(existsSync(file)).toBe(false);
    expect(await afterwards()).toEqual(before);
  });
});

test.each(['raw', 'qcow2'])(
  'an export as %s that is killed at any step leaves a whole file or none',
  async (format) => {
    const before = await prepared(nothing, shared.pool, shared.scratch);
    const directory = join(shared.scratch, `export-${format}`);
    const file = join(directory, 'base.img');
    const call = ['export', 'base', file, { format }] as const;
    const cleared = (): void => {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory);
    };
    cleared();
    const whole = await runChild({ pool: shared.path, call });
    expect(contentOf(file, format).equals(base)).toBe(true);
    expect(readdirSync(directory)).toEqual(['base.img']);
    for (const step of killSteps(whole)) {
      cleared();
      await runChild({ pool: shared.path, call, dieAt: step });
      const where = `killed before step ${step} of ${whole.steps.length}: ${whole.steps[step - 1]}`;
      if (existsSync(file)) expect(contentOf(file, format).equals(base), where).toBe(true);
      expect(await afterwards(), where).toEqual(before);
    }
  },
);

const nothing: Scenario = { name: '', call: () => ['list'], after: (before) => before };

/**
 * Kills a process while a program that it has started is at work, and waits until all that it had started is gone. Returns
 * false when it was done before the program was seen.
 */
async function killWhile(
  command: string,
  call: readonly [method: string, ...args: unknown[]],
): Promise<boolean> {
  const child = startChild({ pool: shared.path, call });
  const pid = child.process.pid ?? 0;
  const end = finished(child);
  let worker: number | undefined;
  await until(() => {
    worker = descendants(pid).find((each) => commandOf(each).startsWith(command));
    return worker !== undefined || child.process.exitCode !== null;
  });
  // Stopped, it can't be done before we are; for a kill that makes no difference.
  if (worker !== undefined && command.startsWith('qemu-img')) signalIfThere(worker, 'SIGSTOP');
  const started = descendants(pid);
  child.process.kill('SIGKILL');
  const { died } = await end;
  await until(() => started.every((each) => !/^(prlimit|bwrap|qemu-img)/.test(commandOf(each))));
  return died;
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}

/** The processes below one, as they are now. */
function descendants(pid: number): number[] {
  const children = threadsOf(pid).flatMap((thread) => {
    const listed = readIfThere(`/proc/${pid}/task/${thread}/children`);
    return listed.split(' ').filter(Boolean).map(Number);
  });
  return children.flatMap((child) => [child, ...descendants(child)]);
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // it has ended
  }
}

function commandOf(pid: number): string {
  return readIfThere(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

function contentOf(file: string, format: string): Buffer {
  if (format === 'raw') return readFileSync(file);
  const raw = `${file}.raw`;
  runProgram('qemu-img', ['convert', '-f', format, '-O', 'raw', file, raw]);
  const content = readFileSync(raw);
  rmSync(raw);
  return content;
}

/** Waits for something that is certain to come. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

async function afterwards(): Promise<State> {
  await using pool = await openPool(shared.path, { inline: true });
  await expectSound(pool);
  return await readState(pool);
}
