import { mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { mountedFileSystem } from '../support/devices.ts';
import { makeTestPool } from '../support/test-pool.ts';
import { type Outcome, runChild } from './run-child.ts';
import { killSteps } from './steps.ts';

/** `kill -9` before every step of the doctor: what it tries in a directory goes with it, also then. */

describe('kill -9 during the doctor', () => {
  test.each(['btrfs', 'ext4'] as const)(
    'on %s leaves nothing in the directory',
    async (type) => {
      using host = mountedFileSystem(type, 1024 * 2 ** 20);
      const path = mkdtempSync(join(host.path, 'place-'));
      const call = ['doctor', path] as const;
      const whole = await runChild({ pool: path, call });
      // From the start of what cleans up to the last thing that is done in the directory; what follows only looks.
      const first = whole.steps.indexOf('spawn xargs') + 1;
      const last = whole.steps.findLastIndex((step) => step.includes('.coppice-doctor-')) + 2;
      expect(first).toBeGreaterThan(0);
      expect(last).toBeGreaterThan(first + 10);
      let deaths = 0;
      for (const step of killSteps(until(whole, last)).filter((each) => each >= first)) {
        const { died } = await runChild({ pool: path, call, dieAt: step });
        if (died) deaths++;
        // What cleans up runs when the process has ended.
        await expect
          .poll(() => readdirSync(path), {
            timeout: 30_000,
            message: `step ${step}: ${whole.steps[step - 1]}`,
          })
          .toEqual([]);
      }
      expect(deaths).toBeGreaterThan(10);
    },
    300_000,
  );

  test('in a pool leaves nothing that the next opening does not clear', async () => {
    await using home = await makeTestPool();
    const call = ['doctor', home.path] as const;
    const whole = await runChild({ pool: home.path, call });
    // What follows on it only looks at the host.
    const last = whole.steps.findIndex((step) => step.startsWith('spawnSync'));
    expect(last).toBeGreaterThan(20);
    for (const step of killSteps(until(whole, last))) {
      await runChild({ pool: home.path, call, dieAt: step });
      const pool = await openPool(home.path, { inline: true });
      const where = `step ${step}: ${whole.steps[step - 1]}`;
      expect(await pool.check(), where).toEqual([]);
      expect(readdirSync(join(home.path, '.staging')), where).toEqual([]);
      await pool.close();
    }
  }, 300_000);
});

/** What it has done up to a step. */
function until({ steps, changing }: Outcome, last: number): Pick<Outcome, 'steps' | 'changing'> {
  return { steps: steps.slice(0, last), changing: changing.filter((step) => step <= last) };
}
