import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fileSystems } from '../conformance/backends.ts';
import type { TestPool } from '../support/test-pool.ts';
import { importBase } from './making.ts';
import { poolInMemory } from './pool-in-memory.ts';
import { runChild } from './run-child.ts';
import { allowed, killedOn, prepared } from './scenarios.ts';
import { stateWhenOpened } from './state.ts';
import { killSteps } from './steps.ts';

/** `kill -9` before every step of every operation, then the pool is opened again. */

describe.each(fileSystems)('on $name', (backend) => {
  let shared: TestPool;

  beforeAll(async () => {
    shared = await poolInMemory(backend);
    await importBase(shared.pool, shared.scratch);
  });

  afterAll(() => shared[Symbol.asyncDispose]());

  test.each(killedOn(backend))(
    'kill -9 during $name leaves all or nothing at every step',
    async (scenario) => {
      let before = await prepared(scenario, shared.pool, shared.scratch);
      const call = scenario.call(shared.pool, shared.scratch);
      const whole = await runChild({ pool: shared.path, call });
      expect(await stateWhenOpened(shared.path, scenario.damaged), 'when it returned').toEqual(
        scenario.after(before),
      );
      before = await prepared(scenario, shared.pool, shared.scratch);
      for (const step of killSteps(whole, backend)) {
        const { died } = await runChild({ pool: shared.path, call, dieAt: step });
        const state = await stateWhenOpened(shared.path, scenario.damaged);
        const where = `killed before step ${step} of ${whole.steps.length}: ${whole.steps[step - 1]}`;
        if (died) expect(allowed(scenario, before), where).toContainEqual(state);
        else expect(state, 'when it returned').toEqual(scenario.after(before));
        // What the digests don't show of a damaged volume may be different too.
        if (state.join() !== before.join() || scenario.damaged)
          before = await prepared(scenario, shared.pool, shared.scratch);
      }
    },
  );
});
