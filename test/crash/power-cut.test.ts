import {
  constants,
  copyFileSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool, type Pool } from '../../src/index.ts';
import { commitInKernelThread } from '../../src/linux/btrfs.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { observeCalls } from '../../src/linux/libc.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { runDirectory } from '../support/run-directory.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';
import { perform } from './perform.ts';
import { allowed, importBase, prepared, type Scenario, scenarios } from './scenarios.ts';
import { line, type State, stateWhenOpened } from './state.ts';
import { torture } from './steps.ts';

/**
 * The power is cut at every step of every operation: the pool's file lies on a file system that can share blocks, so an image of
 * it is taken in an instant, as the disk would be found at the next boot. Each is then mounted anew.
 *
 * Every operation runs twice: as it is, and with a commit at every step, as a neighbour's fsync may cause one at any time.
 */

const GiB = 2 ** 30;

const outerFileSystems = [
  { type: 'btrfs', scenarios },
  {
    type: 'xfs',
    scenarios: torture
      ? scenarios
      : scenarios.filter(({ name }) =>
          ['clone by reflink', 'snapshot', 'rollback', 'import of a raw image'].includes(name),
        ),
  },
] as const;

describe.each(outerFileSystems)('on $type', ({ type, scenarios }) => {
  let directory: string;
  let shared: TestPool;

  beforeAll(async () => {
    directory = mountOuter(type);
    shared = await makeTestPool({ directory: join(directory, 'pool'), bytes: 4 * GiB });
    await importBase(shared.pool, shared.scratch);
    await shared.pool.close();
    runProgram('umount', ['--', shared.path]);
  });

  afterAll(async () => {
    mount(shared.file, shared.path);
    await shared[Symbol.asyncDispose]();
    runProgram('umount', ['--', directory]);
    rmSync(`${directory}.img`);
  });

  test.each(scenarios)('a power cut during $name leaves all or nothing', async (scenario) => {
    const cuts: Cut[] = [];
    {
      // Only for this long: an image has the identity of its original, and the kernel knows only one file system of that.
      using _mounted = mount(shared.file, shared.path);
      for (const commits of [false, true]) {
        await using pool = await openPool(shared.path, { inline: true });
        const before = await prepared(scenario, pool, shared.scratch);
        await pool.sync();
        cuts.push(...(await cutEverywhere(scenario, pool, before, shared.file, commits)));
      }
    }
    for (const cut of cuts) {
      using _mounted = mount(cut.image, shared.path);
      expect(cut.states, cut.where).toContainEqual(await stateWhenOpened(shared.path, scenario.damaged));
      rmSync(cut.image);
    }
  });
});

interface Cut {
  readonly image: string;
  /** What it may hold. */
  readonly states: readonly State[];
  readonly where: string;
}

/** Performs the operation and takes an image before each step, and one when it has returned. */
async function cutEverywhere(
  scenario: Scenario,
  pool: Pool,
  before: State,
  file: string,
  commits: boolean,
): Promise<Cut[]> {
  using disk = new Descriptor(openSync(file, 'r'));
  using root = new Descriptor(openSync(pool.path, 'r'));
  const cuts: Cut[] = [];
  let [count, superblock]: [number, Buffer | undefined] = [0, undefined];
  const take = (where: string, states: readonly State[]): void => {
    // Everything else is found from the superblock, so as long as that is the same, an image would be the same.
    const found = readSuperblock(disk.fd);
    if (superblock?.equals(found) && !torture) return;
    superblock = found;
    const image = join(file, `../cut-${commits ? 'commit-' : ''}${++count}.img`);
    copyFileSync(file, image, constants.COPYFILE_FICLONE_FORCE);
    cuts.push({ image, states, where });
  };
  const observe = (syscall: string, subject: string): undefined => {
    observeCalls(undefined);
    // This commits only what there is to commit, and so leaves the superblock as it is where nothing has changed.
    if (commits) commitInKernelThread(root.fd);
    take(
      `cut before ${syscall} ${subject}${commits ? ', just committed' : ''}`,
      allowedAfterCut(scenario, before),
    );
    observeCalls(observe);
  };
  observeCalls(observe);
  try {
    await perform(pool, scenario.call(pool, join(file, '..')));
  } finally {
    observeCalls(undefined);
  }
  superblock = undefined;
  take(
    'cut when it had returned',
    scenario.deferred ? allowedAfterCut(scenario, before) : [scenario.after(before)],
  );
  return cuts;
}

function allowedAfterCut(scenario: Scenario, before: State): State[] {
  const states = [...allowed(scenario, before)];
  if (!scenario.unflushed) return states;
  const { with: whole, without: lost } = scenario.unflushed;
  const [old, now] = [line('vm', 'volume', lost), line('vm', 'volume', whole)];
  return [...states, before.map((entry) => (entry === now ? old : entry))];
}

/** The first superblock of btrfs, which it writes last in every commit. */
function readSuperblock(fd: number): Buffer {
  const bytes = Buffer.alloc(4096);
  readSync(fd, bytes, 0, bytes.length, 65536);
  return bytes;
}

function mountOuter(type: 'btrfs' | 'xfs'): string {
  const directory = join(runDirectory(), `outer-${type}`);
  mkdirSync(directory);
  writeFileSync(`${directory}.img`, '');
  truncateSync(`${directory}.img`, 24 * GiB);
  runProgram(`mkfs.${type}`, ['-q', `${directory}.img`]);
  mount(`${directory}.img`, directory);
  return directory;
}

function mount(file: string, path: string): Disposable {
  runProgram('mount', ['-o', 'loop', '--', file, path]);
  return { [Symbol.dispose]: () => void runProgram('umount', ['--', path]) };
}
