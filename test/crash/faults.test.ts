import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CoppiceError } from '../../src/index.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import { fileSystems } from '../conformance/backends.ts';
import type { TestPool } from '../support/test-pool.ts';
import { importBase } from './making.ts';
import { openIn } from './open-in.ts';
import { perform } from './perform.ts';
import { poolInMemory } from './pool-in-memory.ts';
import { allowed, killedOn, prepared, type Scenario } from './scenarios.ts';
import { stateWhenOpened } from './state.ts';
import { failingSteps } from './steps.ts';

/** Every system call of every operation fails once: with EIO, and with ENOSPC where the kernel could say that. */

const [EIO, ENOSPC] = [5, 28];
const writing = [
  'openat2',
  'mkdirat',
  'renameat2',
  'fsetxattr',
  'fsync',
  'sync_file_range',
  'ftruncate',
  'unlinkat',
  'ioctl',
];

describe.each(fileSystems)('on $name', (backend) => {
  let shared: TestPool;

  beforeAll(async () => {
    shared = await poolInMemory(backend);
    await importBase(shared.pool, shared.scratch);
  });

  afterAll(() => shared[Symbol.asyncDispose]());

  test.each(killedOn(backend))(
    'a failing system call during $name is a typed error, and nothing is lost',
    async (scenario) => {
      let before = await prepared(scenario, shared.pool, shared.scratch);
      const open = openIn(shared.path);
      const calls = await attempted(shared, scenario, () => undefined);
      expect(await stateWhenOpened(shared.path, scenario.damaged)).toEqual(scenario.after(before));
      for (const step of failingSteps(calls.length, backend)) {
        const [index, call = ''] = [step - 1, calls[step - 1]];
        for (const errno of writing.includes(call.split(' ', 1)[0] ?? '') ? [EIO, ENOSPC] : [EIO]) {
          before = await prepared(scenario, shared.pool, shared.scratch);
          let error: unknown;
          await attempted(shared, scenario, (count) => (count === index ? errno : undefined)).catch(
            (thrown) => {
              error = thrown;
            },
          );
          const where = `errno ${errno} from call ${index + 1} of ${calls.length}, ${call}: ${error ?? 'it went on'}`;
          if (error !== undefined) expect(error, where).toBeInstanceOf(CoppiceError);
          expect(openIn(shared.path), where).toEqual(open);
          const state = await stateWhenOpened(shared.path, scenario.damaged);
          if (error === undefined) expect(state, where).toEqual(scenario.after(before));
          else expect(allowed(scenario, before), where).toContainEqual(state);
        }
      }
    },
  );
});

/** Performs the operation while the given function decides which calls fail. Returns the calls. */
async function attempted(
  shared: TestPool,
  scenario: Scenario,
  failure: (index: number) => number | undefined,
): Promise<readonly string[]> {
  const calls: string[] = [];
  const call = scenario.call(shared.pool, shared.scratch);
  observeCalls((syscall, subject) => failure(calls.push(`${syscall} ${subject}`) - 1));
  try {
    await perform(shared.pool, call);
    return calls;
  } finally {
    observeCalls(undefined);
  }
}
