import {
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type CreatePoolOptions,
  createPool,
  destroyPool,
  growPool,
  openPool,
  persistPool,
} from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { runDirectory } from '../support/run-directory.ts';
import { makeTestPool } from '../support/test-pool.ts';
import { base, importBase } from './making.ts';
import { finished, type Outcome, runChild, startChild } from './run-child.ts';
import { expectSound, line, readState } from './state.ts';
import { killSteps } from './steps.ts';

/** `kill -9` before every step of what makes, changes and destroys pools. Run again, it completes what was interrupted. */

const GiB = 2 ** 30;
const MiB = 2 ** 20;

test('a pool in a file that was interrupted at any step of its making is made by the next run', async () => {
  const inDirectory = (directory: string): CreatePoolOptions => ({
    path: join(directory, 'mnt'),
    file: join(directory, 'pool.img'),
    bytes: 4 * GiB,
  });
  await atEveryStep('create', async (directory, run) => {
    const options = inDirectory(directory);
    await run(['createPool', options]);
    createPool(options);
    await expectUsable(directory);
    expect(readdirSync(directory).sort()).toEqual(['mnt', 'pool.img']);
    expect(readMounts().filter((mount) => mount.mountPoint === options.path)).toHaveLength(1);
    runProgram('umount', ['--', join(directory, 'mnt')]);
  });
});

test('a file system that was interrupted at any step of its adoption is adopted by the next run', async () => {
  using host = mountBtrfs('adopt');
  await atEveryStep('adopted', async (directory, run) => {
    const path = join(host.path, directory.slice(runDirectory().length));
    mkdirSync(path, { recursive: true });
    await run(['createPool', { path, existing: true }]);
    createPool({ path, existing: true });
    await using pool = await openPool(path, { inline: true });
    await expectSound(pool);
  });
});

test('a pool that was interrupted at any step of its growth grows in the next run', async () => {
  await using shared = await makeTestPool({ bytes: 4 * GiB });
  await importBase(shared.pool, shared.scratch);
  let bytes = 4 * GiB;
  await atEveryStep('grow', async (_directory, run) => {
    bytes += 64 * MiB;
    await run(['growPool', shared.path, bytes]);
    await using pool = await shared.reopen();
    await expectSound(pool);
    expect(await readState(pool)).toEqual([line('base', 'template', base)]);
    growPool(shared.path, bytes);
    expect(statSync(shared.file).size).toBe(bytes);
    expect((await pool.describe()).space.totalBytes).toBe(bytes);
  });
});

test('a line in fstab that was interrupted at any step is not there or whole, and written by the next run', async () => {
  await using shared = await makeTestPool({ bytes: 4 * GiB });
  const others = 'proc /proc proc defaults 0 0\n# a comment\n';
  await atEveryStep('persist', async (directory, run) => {
    const fstab = join(directory, 'fstab');
    writeFileSync(fstab, others);
    await run(['persistPool', shared.path, { fstab }]);
    const whole = `${others}${persistPool(shared.path, { fstab, dryRun: true }).text}\n`;
    expect([others, whole]).toContain(readFileSync(fstab, 'utf8'));
    persistPool(shared.path, { fstab });
    expect(readFileSync(fstab, 'utf8')).toBe(whole);
    expect(readdirSync(directory)).toEqual(['fstab']);
  });
});

test('a pool in a file that was interrupted at any step of its destruction can be destroyed', async () => {
  await atEveryStep('destroy', async (directory, run) => {
    const options = { path: join(directory, 'mnt'), file: join(directory, 'pool.img'), bytes: 4 * GiB };
    const persist = { fstab: join(directory, 'fstab'), unitDirectory: directory };
    writeFileSync(persist.fstab, '');
    createPool(options);
    persistPool(options.path, persist);
    await run(['destroyPool', options.path, persist]);
    if (readFileSync(persist.fstab, 'utf8') !== '')
      expect(existsSync(options.file), 'what fstab names').toBe(true);
    if (existsSync(options.path) || existsSync(options.file)) {
      createPool(options); // mounts it again, where it got as far as unmounting it
      destroyPool(options.path, persist);
    }
    expect(readFileSync(persist.fstab, 'utf8')).toBe('');
    expect(readdirSync(directory)).toEqual(['fstab']);
  });
});

test('an adopted pool that was interrupted at any step of its destruction can be destroyed', async () => {
  using host = mountBtrfs('abandon');
  await atEveryStep('abandoned', async (directory, run) => {
    const path = join(host.path, directory.slice(runDirectory().length));
    const persist = { fstab: join(directory, 'fstab'), unitDirectory: directory };
    mkdirSync(path, { recursive: true });
    createPool({ path, existing: true });
    {
      await using pool = await openPool(path, { inline: true });
      await pool.create('vm', { bytes: MiB });
      await pool.snapshot('vm@s1');
      await pool.create('other', { bytes: MiB });
    }
    await run(['destroyPool', path, persist]);
    if (readdirSync(path).length === 0) return;
    createPool({ path, existing: true });
    {
      await using pool = await openPool(path, { inline: true });
      await expectSound(pool); // what is still there is whole
    }
    destroyPool(path, persist);
    expect(readdirSync(path)).toEqual([]);
  });
});

describe.each(['mkfs.btrfs', 'mount'])('%s that goes on after its caller was killed', (program) => {
  test('is waited for by the next run', async () => {
    const directory = join(runDirectory(), `orphan-${program}`);
    const options = { path: join(directory, 'mnt'), file: join(directory, 'pool.img'), bytes: 4 * GiB };
    mkdirSync(join(directory, 'bin'), { recursive: true });
    const [log, gate] = [join(directory, 'log'), join(directory, 'gate')];
    runProgram('mkfifo', [gate]);
    using opened = new Descriptor(openSync(gate, constants.O_RDWR | constants.O_NONBLOCK));
    writeFileSync(log, '');
    const real = runProgram('sh', ['-c', 'command -v "$0"', program]).trim();
    const script = `#!/bin/sh
echo start >> ${log}
mkdir ${directory}/first 2>/dev/null && read line < ${gate}
${real} "$@"
code=$?
echo end >> ${log}
exit $code
`;
    writeFileSync(join(directory, 'bin', program), script, { mode: 0o755 });
    const environment = { PATH: `${join(directory, 'bin')}:${process.env['PATH']}` };
    const said = (): string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean);

    const killed = startChild({ pool: '', call: ['createPool', options] }, environment);
    await until(() => said().length === 1);
    killed.process.kill('SIGKILL');
    expect((await finished(killed)).died).toBe(true);
    const next = startChild({ pool: '', call: ['createPool', options] }, environment);
    const waits = new RegExp(`-> FLOCK .* ${next.process.pid} `);
    await until(() => said().length > 1 || waits.test(readFileSync('/proc/locks', 'utf8')));
    writeSync(opened.fd, '\n');
    expect((await finished(next)).died).toBe(false);

    expect(said().slice(0, 2)).toEqual(['start', 'end']);
    expect(readMounts().filter((mount) => mount.mountPoint === options.path)).toHaveLength(1);
    await expectUsable(directory);
    runProgram('umount', ['--', options.path]);
    rmSync(directory, { recursive: true });
  });
});

type Call = readonly [method: string, ...args: unknown[]];

/** Runs a case once whole, and then once for each step at which its call is killed; each has a directory of its own. */
async function atEveryStep(
  name: string,
  check: (directory: string, run: (call: Call) => Promise<void>) => Promise<void>,
): Promise<void> {
  let whole: Pick<Outcome, 'steps' | 'changing'> = { steps: [], changing: [] };
  const once = async (dieAt: number): Promise<void> => {
    const directory = join(runDirectory(), `${name}-${dieAt}`);
    mkdirSync(directory);
    try {
      await check(directory, async (call) => {
        const outcome = await runChild({ pool: '', call, ...(dieAt > 0 && { dieAt }) });
        if (dieAt === 0) whole = outcome;
      });
    } catch (error) {
      throw new Error(`killed before step ${dieAt} of ${whole.steps.length}: ${whole.steps[dieAt - 1]}`, {
        cause: error,
      });
    }
    rmSync(directory, { recursive: true });
  };
  await once(0);
  expect(whole.steps.length).toBeGreaterThan(5);
  for (const step of killSteps(whole)) await once(step);
}

async function expectUsable(directory: string): Promise<void> {
  await using pool = await openPool(join(directory, 'mnt'), { inline: true });
  await importBase(pool, runDirectory());
  await expectSound(pool);
  expect(await readState(pool)).toEqual([line('base', 'template', base)]);
}

function mountBtrfs(name: string): Disposable & { readonly path: string } {
  const path = join(runDirectory(), `${name}-btrfs`);
  mkdirSync(path);
  runProgram('truncate', ['-s', '4G', `${path}.img`]);
  runProgram('mkfs.btrfs', ['-q', `${path}.img`]);
  runProgram('mount', ['-o', 'loop', '--', `${path}.img`, path]);
  return { path, [Symbol.dispose]: () => void runProgram('umount', ['--', path]) };
}

/** Waits for something that is certain to come. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
