import {
  constants,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commit } from '../../src/drivers/xfs/payload.ts';
import { openPool, type Pool } from '../../src/index.ts';
import { commitInKernelThread } from '../../src/linux/btrfs.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { loopBackingFile, mountOf } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import { type FileSystem, fileSystems } from '../conformance/backends.ts';
import { runDirectory } from '../support/run-directory.ts';
import type { TestPool } from '../support/test-pool.ts';
import { base, importBase } from './making.ts';
import { perform } from './perform.ts';
import { allowed, prepared, type Scenario, scenariosOn } from './scenarios.ts';
import { line, type State, stateWhenOpened } from './state.ts';
import { long } from './steps.ts';

/**
 * The power is cut at every step of every operation: the pool's file lies on a file system that can share blocks, so an image of
 * it is taken in an instant, as the disk would be found at the next boot. Each is then mounted anew.
 *
 * Every operation runs twice: as it is, and with a commit at every step, as a neighbour's fsync may cause one at any time.
 */

const GiB = 2 ** 30;

const [btrfs, xfs] = fileSystems as [FileSystem, FileSystem];
const few = ['clone by reflink', 'snapshot', 'rollback', 'import of a raw image'];
const some = [...few, 'rename', 'grow', 'seal', 'snapshot of several volumes', 'remove several volumes'];

/** `outer` is the file system that the pool's file lies on. */
const combinations = [
  { backend: btrfs, outer: 'btrfs', scenarios: scenariosOn(btrfs) },
  {
    backend: xfs,
    outer: 'btrfs',
    scenarios: scenariosOn(xfs).filter(({ name }) => long || some.includes(name)),
  },
  {
    backend: btrfs,
    outer: 'xfs',
    scenarios: scenariosOn(btrfs).filter(({ name }) => long || few.includes(name)),
  },
] as const;

describe.each(combinations)(
  'a pool on $backend.name in a file on $outer',
  ({ backend, outer, scenarios }) => {
    let directory: string;
    let shared: TestPool;

    beforeAll(async () => {
      directory = mountOuter(outer, backend.name);
      shared = await backend.makePool({ directory: join(directory, 'pool'), bytes: 4 * GiB });
      await importBase(shared.pool, shared.scratch);
      await shared.pool.close();
      runProgram('umount', ['--', shared.path]);
    });

    afterAll(async () => {
      mount(shared.file, shared.path, optionsOf[backend.name]);
      await shared[Symbol.asyncDispose]();
      runProgram('umount', ['--', directory]);
      rmSync(`${directory}.img`);
    });

    test.each(scenarios)('a power cut during $name leaves all or nothing', async (scenario) => {
      const cuts: Cut[] = [];
      {
        // Only for this long: an image has the identity of its original, and the kernel knows only one file system of that.
        using _mounted = mount(shared.file, shared.path, optionsOf[backend.name]);
        for (const commits of [false, true]) {
          await using pool = await openPool(shared.path, { inline: true });
          const before = await prepared(scenario, pool, shared.scratch);
          await pool.sync();
          cuts.push(...(await cutEverywhere(backend, scenario, pool, before, shared.file, commits)));
        }
      }
      for (const cut of cuts) {
        using _mounted = mount(cut.image, shared.path, optionsOf[backend.name]);
        expect(cut.states, cut.where).toContainEqual(await stateWhenOpened(shared.path, scenario.damaged));
        rmSync(cut.image);
      }
    });
  },
);

test.each([btrfs, xfs])(
  'on $name, an original on another file system is removed only when its volume is durable',
  async (backend) => {
    const directory = mountOuter('btrfs', `originals-${backend.name}`);
    const home = await backend.makePool({ directory: join(directory, 'pool'), bytes: 4 * GiB });
    const [originals, image] = [join(directory, 'originals'), `${home.file}.cut`];
    mkdirSync(originals);
    writeFileSync(join(originals, 'a.raw'), base);
    observeCalls((syscall, subject) => {
      if (syscall === 'unlinkat' && subject === 'a.raw')
        copyFileSync(home.file, image, constants.COPYFILE_FICLONE_FORCE);
      return undefined;
    });
    try {
      await home.pool.adopt(originals, { copy: true, removeOriginals: true });
    } finally {
      observeCalls(undefined);
    }
    await home.pool.close();
    runProgram('umount', ['--', home.path]);
    {
      using _mounted = mount(image, home.path, optionsOf[backend.name]);
      expect(await stateWhenOpened(home.path)).toEqual([line('a', 'volume', base)]);
    }
    mount(home.file, home.path, optionsOf[backend.name]);
    await home[Symbol.asyncDispose]();
    runProgram('umount', ['--', directory]);
    rmSync(`${directory}.img`);
  },
);

interface Cut {
  readonly image: string;
  /** What it may hold. */
  readonly states: readonly State[];
  readonly where: string;
}

/** Performs the operation and takes an image before each step, and one when it has returned. */
async function cutEverywhere(
  backend: FileSystem,
  scenario: Scenario,
  pool: Pool,
  before: State,
  file: string,
  commits: boolean,
): Promise<Cut[]> {
  using disk = new Descriptor(openSync(file, 'r'));
  using root = new Descriptor(openSync(pool.path, 'r'));
  const cuts: Cut[] = [];
  const storedState = storedStateOf[backend.name](disk.fd, pool.path);
  let [count, last]: [number, string | undefined] = [0, undefined];
  const take = (where: string, states: readonly State[]): void => {
    const found = storedState();
    if (last !== undefined && last === found && !long) return;
    last = found;
    const image = join(file, `../cut-${commits ? 'commit-' : ''}${++count}.img`);
    copyFileSync(file, image, constants.COPYFILE_FICLONE_FORCE);
    cuts.push({ image, states, where });
  };
  const observe = (syscall: string, subject: string): undefined => {
    observeCalls(undefined);
    if (commits) commitAsNeighbour[backend.name](root.fd);
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
  last = undefined;
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

/** What a neighbour's fsync does. On btrfs it commits only what there is to commit. */
const commitAsNeighbour = { btrfs: commitInKernelThread, xfs: commit } as const;

/** Says when an image would be the same as the last one; undefined when that can't be told. */
const storedStateOf = {
  /** Everything else is found from the first superblock, which btrfs writes last in every commit. */
  btrfs: (file: number) => () => {
    const bytes = Buffer.alloc(4096);
    readSync(file, bytes, 0, bytes.length, 65536);
    return bytes.toString('latin1');
  },
  /** How many writes the device has done, while none is under way: iostats.rst of the kernel has the fields. */
  xfs: (_file: number, pool: string) => {
    const device = basename(mountOf(pool)?.source ?? '');
    return () => {
      const fields = readFileSync(`/sys/block/${device}/stat`, 'utf8').trim().split(/\s+/);
      const [written, discarded, flushed, underWay] = [fields[4], fields[11], fields[15], fields[8]];
      return underWay === '0' ? `${written} ${discarded} ${flushed}` : undefined;
    };
  },
} as const;

function mountOuter(type: 'btrfs' | 'xfs', inner: string): string {
  const directory = join(runDirectory(), `${inner}-on-${type}`);
  mkdirSync(directory);
  writeFileSync(`${directory}.img`, '');
  truncateSync(`${directory}.img`, 24 * GiB);
  runProgram(`mkfs.${type}`, ['-q', `${directory}.img`]);
  mount(`${directory}.img`, directory);
  return directory;
}

/** xfs refuses a second file system of one id, and one that was just unmounted may live on for a moment in another namespace. */
const optionsOf = { btrfs: 'loop', xfs: 'loop,nouuid' } as const;

function mount(file: string, path: string, options = 'loop'): Disposable {
  runProgram('mount', ['-o', options, '--', file, path]);
  return {
    [Symbol.dispose]() {
      runProgram('umount', ['--', path]);
      waitUntilGone(file);
    },
  };
}

/**
 * A process that was just given a mount namespace of its own has a copy of every mount, and with it keeps a file system alive that
 * was unmounted here, until it has let go of the host's. The next image has the same id, and btrfs would give it another.
 */
function waitUntilGone(file: string): void {
  const isAttached = (): boolean =>
    readdirSync('/sys/block').some((device) => loopBackingFile(`/dev/${device}`) === file);
  for (let waited = 0; isAttached(); waited++) {
    if (waited === 3000)
      throw new Error(`The file system in ${file} is still in use after it was unmounted.`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}
