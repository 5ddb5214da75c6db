import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readMounts } from '../../src/linux/mounts.ts';
import { isStopped, readProcess, readProcesses } from '../../src/linux/processes.ts';
import { repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { acknowledged, disorder } from '../support/ordered-writer.ts';
import { startProgram, startScript, type TestProgram } from '../support/programs.ts';
import { declared, quiesced, scopeOf } from '../support/quiesced.ts';
import { type Subvolume, subvolume } from '../support/subvolume.ts';

let volume: Subvolume;
let scratch: string;

beforeAll(() => {
  volume = subvolume();
  scratch = scratchDirectory('freeze');
});
afterAll(() => volume[Symbol.dispose]());

interface Writer extends AsyncDisposable {
  readonly program: TestProgram;
  acknowledged(): number;
}

/** Writes into the volume for as long as the block lasts. */
async function writer(): Promise<Writer> {
  const answers = join(scratch, 'acknowledged');
  const program = startScript('ordered-writer', [volume.directory, answers]);
  await program.said('ready');
  return {
    program,
    acknowledged: () => acknowledged(answers),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Takes snapshots until one has something that can't be, and returns what. */
async function firstDisorder(
  most: number,
  take: () => Promise<{ copy: string; atLeast: number }>,
): Promise<string[]> {
  for (let count = 0; count < most; count++) {
    const { copy, atLeast } = await take();
    const found = disorder(copy, atLeast);
    volume.drop(copy);
    if (found.length > 0) return found;
  }
  return [];
}

/** A cgroup of this run, in the hierarchy of either version. */
function cgroup(version: 1 | 2): Disposable & { readonly path: string; add(pid: number): void } {
  const root = readMounts().find(({ type, options }) =>
    version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.includes('freezer'),
  )?.mountPoint;
  const path = join(root ?? '', `coppice-test-${process.pid}`);
  mkdirSync(path);
  return {
    path,
    add: (pid) => writeFileSync(join(path, 'cgroup.procs'), String(pid)),
    [Symbol.dispose]() {
      for (let tries = 0; ; tries++) {
        try {
          return rmdirSync(path);
        } catch (error) {
          if (tries === 200) throw error; // those who have ended leave it a moment later
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
        }
      }
    },
  };
}

const hasCgroups = (version: 1 | 2): boolean =>
  readMounts().some(({ type, options }) =>
    version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.includes('freezer'),
  );

function frozen(
  declaration: string,
  { acknowledged: count }: Writer,
): () => Promise<{ copy: string; atLeast: number }> {
  return async () => {
    let atLeast = 0;
    const quiescer = await declared(declaration);
    const hold = quiescer.hold.bind(quiescer);
    quiescer.hold = (signal) => {
      atLeast = count();
      return hold(signal);
    };
    const { taken } = await quiesced(quiescer, scopeOf(volume), () => volume.snapshot());
    return { copy: taken, atLeast };
  };
}

async function goesOn({ acknowledged: count }: Writer): Promise<boolean> {
  const before = count();
  for (let tries = 0; tries < 1000 && count() === before; tries++) await delay(10);
  return count() > before;
}

describe('a snapshot of who writes without flushing', () => {
  test('is of no instant, when he goes on meanwhile', async () => {
    await using each = await writer();
    const take = async (): Promise<{ copy: string; atLeast: number }> => {
      const atLeast = each.acknowledged();
      return { copy: volume.snapshot(), atLeast };
    };
    expect(await firstDisorder(200, take)).not.toEqual([]);
  });

  test.each(['pid', 'pid-file', 'holders', 'unit'] as const)(
    'is of one instant, when he is frozen by %s',
    async (kind) => {
      await using each = await writer();
      const { pid } = each.program;
      const file = join(scratch, 'pid');
      writeFileSync(file, `${pid}\n`, { mode: 0o600 });
      if (kind === 'unit') {
        if (existsSync('/run/systemd/system')) return;
        await expect(frozen('freeze=unit=app.service', each)()).rejects.toThrow(/not started by systemd/);
        return;
      }
      const value = { pid: `pid=${pid}`, 'pid-file': `pid-file=${file}`, holders: 'holders' }[kind];
      expect(await firstDisorder(3, frozen(`freeze=${value}`, each))).toEqual([]);
      expect(await goesOn(each)).toBe(true);
    },
  );

  test.each([1, 2] as const)(
    'is of one instant, when his cgroup of version %s is frozen',
    async (version) => {
      if (!hasCgroups(version)) return;
      using group = cgroup(version);
      await using each = await writer();
      group.add(each.program.pid);
      expect(await firstDisorder(3, frozen(`freeze=cgroup=${group.path}`, each))).toEqual([]);
      expect(await goesOn(each)).toBe(true);
    },
  );
});

describe('freezing', () => {
  const run = (text: string, take: () => unknown = () => undefined): Promise<unknown> =>
    quiesced(text, scopeOf(volume), take);

  test('says what it did', async () => {
    await using each = await writer();
    const { state } = await quiesced(`freeze=pid=${each.program.pid}`, scopeOf(volume), () => undefined);
    expect(state).toEqual({
      name: 'freeze',
      level: 'freeze',
      recovery: 'as after a crash',
      details: {
        frozen: `pid=${each.program.pid}`,
        processes: '1',
        milliseconds: expect.stringMatching(/^\d+$/),
      },
    });
  });

  test.each([
    ['pid=1', /first of all/],
    [`pid=${process.pid}`, /the one that takes the snapshot/],
    [`pid=${process.ppid}`, /has started the one|takes the snapshot/],
    ['pid=2', /can't be frozen|There is no process/],
    ['pid=4194303', /There is no process/],
    ['cgroup=/proc', /not the directory of a cgroup/],
    ['cgroup=/sys/fs/cgroup/none', /There is no cgroup/],
    ['pid-file=/etc/passwd', /does not begin with the number/],
    ['pid-file=/run/no/such', /There is no/],
  ])('of %s is refused', async (value, sentence) => {
    await expect(run(`freeze=${value}`)).rejects.toThrow(sentence);
  });

  test.each([
    'x',
    'pid=1,holders=',
    'pid=x',
    'pid=1,cgroup=/a',
    'unit=a b.service',
    'timeout=0',
    'timeout=x',
    'pid-file=a',
  ])('can not be declared by "%s"', async (value) => {
    await expect(declared(`freeze=${value}`)).rejects.toThrow(/quiesce\.freeze can't be used|time limit/);
  });

  test('a file that others can write to names no process', async () => {
    await using each = await writer();
    const file = join(scratch, 'pid-of-others');
    writeFileSync(file, `${each.program.pid}\n`);
    chmodSync(file, 0o666);
    await expect(run(`freeze=pid-file=${file}`)).rejects.toThrow(/others than root/);
  });

  test('an empty cgroup is no application', async () => {
    if (!hasCgroups(2)) return;
    using group = cgroup(2);
    await expect(run(`freeze=cgroup=${group.path}`)).rejects.toThrow(/does not run/);
  });

  test('takes along all that is started meanwhile', async () => {
    await using tree = startProgram('sh', [
      '-c',
      'echo ready; while :; do (sh -c "sleep 0.01; :" &); sleep 0.001; done',
    ]);
    await tree.said('ready');
    const below = (pid: number): number[] =>
      readProcesses().flatMap((each) => (each.parent === pid ? [each.pid, ...below(each.pid)] : []));
    for (let round = 0; round < 3; round++) {
      const running = (await quiesced(`freeze=pid=${tree.pid}`, scopeOf(volume), async () => {
        const there = [tree.pid, ...below(tree.pid)].flatMap((pid) => readProcess(pid) ?? []);
        await delay(20);
        expect(below(tree.pid).length + 1).toBe(there.length);
        return there.filter((each) => !isStopped(each));
      })) as { taken: unknown };
      expect(running.taken).toEqual([]);
    }
  });

  test('leaves stopped what was stopped before', async () => {
    await using each = await writer();
    const { pid } = each.program;
    process.kill(pid, 'SIGSTOP');
    await until(() => readProcess(pid)?.state === 'T');
    await run(`freeze=pid=${pid}`);
    expect(readProcess(pid)?.state).toBe('T');
    process.kill(pid, 'SIGCONT');
    expect(await goesOn(each)).toBe(true);
  });

  test('leaves a cgroup frozen that was frozen before', async () => {
    if (!hasCgroups(2)) return;
    using group = cgroup(2);
    await using each = await writer();
    group.add(each.program.pid);
    writeFileSync(join(group.path, 'cgroup.freeze'), '1');
    await run(`freeze=cgroup=${group.path}`);
    expect(readFileSync(join(group.path, 'cgroup.freeze'), 'latin1')).toBe('1\n');
    writeFileSync(join(group.path, 'cgroup.freeze'), '0');
  });

  test('of the same twice in one operation ends with the last', async () => {
    await using each = await writer();
    const { pid } = each.program;
    await run(`freeze=pid=${pid}`, async () => {
      await run(`freeze.second=pid=${pid}`);
      expect(readProcess(pid)?.state).toBe('T');
    });
    expect(readProcess(pid)?.state).not.toBe('T');
  });

  test('by two programs goes in turns', async () => {
    await using each = await writer();
    const { pid } = each.program;
    const other = (): TestProgram =>
      startScript('quiesce-child', [`freeze=pid=${pid}`, volume.directory, 'none']);
    await run(`freeze=pid=${pid}`, async () => {
      await using waiting = other();
      await waiting.said('prepare');
      await delay(100);
      expect(waiting.output()).not.toContain('hold');
      expect(readProcess(pid)?.state).toBe('T');
    });
    await using next = other();
    await next.said('release');
    expect(await next.ended).toBe(0);
    expect(await goesOn(each)).toBe(true);
  });

  test('ends in time, and then there is no snapshot', async () => {
    await using each = await writer();
    const { pid } = each.program;
    const late = run(`freeze=pid=${pid},timeout=0.2`, () => until(() => readProcess(pid)?.state !== 'T'));
    await expect(late).rejects.toThrow(/not complete in 0\.2 s/);
  });

  test('that somebody else ends is no snapshot', async () => {
    await using each = await writer();
    const { pid } = each.program;
    const ended = run(`freeze=pid=${pid}`, () => process.kill(pid, 'SIGCONT'));
    await expect(ended).rejects.toThrow(/somebody else has let them go on/);
    if (!hasCgroups(2)) return;
    using group = cgroup(2);
    await using second = await writer();
    group.add(second.program.pid);
    const thawed = run(`freeze=cgroup=${group.path}`, () =>
      writeFileSync(join(group.path, 'cgroup.freeze'), '0'),
    );
    await expect(thawed).rejects.toThrow(/somebody else has let them go on/);
    await second[Symbol.asyncDispose]();
  });
});

describe('who freezes and is killed', () => {
  test.each([
    ['pid', 'prepare'],
    ['pid', 'holding'],
    ['pid', 'hold'],
    ['cgroup', 'holding'],
    ['cgroup', 'hold'],
  ])('by %s after %s leaves nothing frozen', async (kind, step) => {
    if (!hasCgroups(2)) return;
    using group = cgroup(2);
    await using each = await writer();
    group.add(each.program.pid);
    const value = kind === 'pid' ? `pid=${each.program.pid}` : `cgroup=${group.path}`;
    await using child = startScript('quiesce-child', [`freeze=${value}`, volume.directory, step]);
    await child.said(step);
    if (step === 'hold') {
      const before = each.acknowledged();
      await delay(50);
      expect(each.acknowledged()).toBe(before);
    }
    child.child.kill('SIGKILL');
    await child.ended;
    expect(await goesOn(each)).toBe(true);
    await until(() => watchdogs().length === 0);
    expect(readFileSync(join(group.path, 'cgroup.freeze'), 'latin1')).toBe('0\n');
    await each[Symbol.asyncDispose]();
  });

  test('and is only stopped himself holds nobody longer than he may', async () => {
    await using each = await writer();
    const declaration = `freeze=pid=${each.program.pid},timeout=0.5`;
    await using child = startScript('quiesce-child', [declaration, volume.directory, 'hold']);
    await child.said('hold');
    child.child.kill('SIGSTOP');
    expect(await goesOn(each)).toBe(true);
  });

  test('at any system call leaves nothing frozen', async () => {
    await using each = await writer();
    for (let call = 1; ; call++) {
      await using child = startScript(
        'quiesce-child',
        [`freeze=pid=${each.program.pid}`, volume.directory, 'none'],
        { env: { ...process.env, COPPICE_TEST_DIE_AT: String(call), NODE_OPTIONS: `--import=${dying}` } },
      );
      const end = await child.ended;
      await until(() => readProcess(each.program.pid)?.state !== 'T');
      expect(await goesOn(each)).toBe(true);
      if (end === 0) break;
      expect(end).toBe('SIGKILL');
    }
  });

  test('after his watchdog lets go on himself', async () => {
    await using each = await writer();
    await quiesced(`freeze=pid=${each.program.pid}`, scopeOf(volume), () => {
      const own = watchdogs().filter((pid) => readProcess(pid)?.parent === process.pid);
      expect(own).toHaveLength(1);
      for (const pid of own) process.kill(pid, 'SIGKILL');
    });
    expect(await goesOn(each)).toBe(true);
  });
});

const dying = join(repository, 'test', 'support', 'dying.ts');

function watchdogs(): number[] {
  return readProcesses().flatMap(({ pid }) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      return command.includes('release-watchdog') && command.includes(repository) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !condition(); tries++) await delay(10);
  expect(condition()).toBe(true);
}
