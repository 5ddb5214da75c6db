import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { type ActorPlan, play } from '../support/actors.ts';
import { findContradiction } from '../support/histories.ts';
import { observe } from '../support/perform.ts';
import { conformance, staged } from './suite.ts';

/**
 * Processes that are killed while they work on one pool. What each was told still holds; what it was in when it died was done or
 * not; and together with what is there in the end, all of it can be explained one at a time.
 */

const quick = process.env['COPPICE_QUICK'] === '1';

const day = 24 * 3600 * 1000;

/** A process makes some 1,000 calls in its operations, of which the first 40 open the pool. */
const actor = (mode: ActorPlan['mode'], clocks: fc.Arbitrary<readonly number[]>): fc.Arbitrary<ActorPlan> =>
  fc.record({
    seed: fc.nat({ max: 2 ** 31 }),
    mode: fc.constant(mode),
    lanes: fc.constant(mode === 'workers' ? 2 : 1),
    operations: fc.constant(mode === 'workers' ? 15 : 30),
    deaths: fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 4, size: 'max' }),
    clocks,
  });

/** Three processes that die and are followed by others, and one that lives. */
const cast = (clocks: fc.Arbitrary<readonly number[]>): fc.Arbitrary<readonly ActorPlan[]> =>
  fc.tuple(
    actor('inline', clocks),
    actor('inline', clocks),
    actor('workers', clocks),
    actor('inline', clocks).map((plan) => ({ ...plan, deaths: [] })),
  );

conformance(
  'processes that are killed',
  (suite) => {
    const explained = async (plans: readonly ActorPlan[]): Promise<void> => {
      const names = (await suite.pool.list()).map((volume) => volume.name);
      await suite.pool.remove(names, { withSnapshots: true });
      const { histories, deaths } = await play(plans, suite.home.path, suite.scratch);
      expect(deaths).toBeGreaterThan(0);
      const failures = histories
        .flat()
        .flatMap(({ outcome }) => (outcome && 'failed' in outcome ? [outcome] : []))
        .filter(({ failed }) => ['busy', 'io_error', 'damaged', 'no_space'].includes(failed));
      expect(failures).toEqual([]);
      await using pool = await openPool(suite.home.path, { inline: true });
      expect(staged(suite.home), 'in staging').toEqual([]);
      expect(readdirSync(join(suite.home.path, '.tombstones')), 'tombstones').toEqual([]);
      expect((await pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
      expect(findContradiction(histories, {}, await observe(pool))).toBeUndefined();
    };

    test('the histories of all, and what is there in the end, have an explanation one at a time', async () => {
      await fc.assert(fc.asyncProperty(cast(fc.constant([0])), explained), {
        numRuns: quick ? 1 : 3,
        // Another run of the same plan is never quite the same, so there is nothing to shrink.
        endOnFailure: true,
      });
    });

    test('also when the clocks of all are years apart, and jump', async () => {
      const clock = fc.constantFrom(0, -20_000 * day, -1, 400 * day, 20_000 * day);
      const clocks = fc.array(clock, { minLength: 2, maxLength: 4, size: 'max' });
      await fc.assert(fc.asyncProperty(cast(clocks), explained), {
        numRuns: quick ? 1 : 2,
        endOnFailure: true,
      });
    });
  },
  { needs: 'directories' },
);
