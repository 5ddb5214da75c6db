import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import type { ChildRequest } from '../crash/child.ts';
import { pausedChild } from '../crash/paused-child.ts';
import { runChild } from '../crash/run-child.ts';
import { patternBytes, writePattern } from '../support/content.ts';
import { clockVariable } from '../support/shifted-clock.ts';
import { conformance, type Suite, staged } from './suite.ts';

/** Processes whose clocks are years apart. What they do is in the order in which they did it, and nothing is lost for its age. */

const day = 24 * 3600 * 1000;
/** Back to 1972, this instant, ahead to 2080, and steps that are small. */
const clocks = [20_000 * day, -20_000 * day, 0, -1, 400 * day, -400 * day, -20_000 * day, 0];

const withClock = (milliseconds: number): NodeJS.ProcessEnv => ({ [clockVariable]: String(milliseconds) });

conformance('clocks that jump', (suite) => {
  const call = (...args: ChildRequest['call']): ChildRequest => ({ pool: suite.home.path, call: args });

  test('snapshots are in the order in which they were taken, and the names made from the time are new', async () => {
    const { name, path } = await suite.volume(4096);
    for (const [index, clock] of [...clocks, ...clocks].entries()) {
      writePattern(path, index, 0, 4096);
      await runChild(call('snapshot', name, {}), withClock(clock));
    }
    const snapshots = await suite.pool.listSnapshots(name);
    expect(snapshots).toHaveLength(2 * clocks.length);
    await expectPatterns(
      suite,
      snapshots.map(({ reference }) => reference),
    );
    const years = snapshots.map(({ created }) => created?.slice(0, 4));
    expect(new Set(years).size, 'the clocks of the processes differ').toBeGreaterThan(2);
  });

  test('also when others take snapshots of other volumes at the same time', async () => {
    const { name, path } = await suite.volume(4096);
    const other = await suite.volume(4096);
    writePattern(path, 0, 0, 4096);
    await using behind = pausedChild(call('snapshot', `${other.name}@s`, {}), withClock(-20_000 * day));
    await behind.until(/^fsetxattr user.coppice.order|^ioctl SNAP_CREATE|^zfs change .*@s$/);
    const ahead = runChild(call('snapshot', `${name}@ahead`, {}), withClock(20_000 * day));
    // It may have to wait for the other.
    await Promise.race([ahead, delay(1000)]);
    await behind.finish();
    await ahead;
    writePattern(path, 1, 0, 4096);
    await suite.pool.snapshot(`${name}@now`);
    await expectPatterns(suite, [`${name}@ahead`, `${name}@now`]);
    expect((await suite.pool.listSnapshots(name)).map((snapshot) => snapshot.name)).toEqual(['ahead', 'now']);
  });

  test('rollbacks keep each state under a name of its own, also when they died and another clock finds them', async () => {
    const { name, path } = await suite.volume(4096);
    writePattern(path, 0, 0, 4096);
    await suite.pool.snapshot(`${name}@s`);
    for (const [index, clock] of clocks.entries()) {
      writePattern(path, index + 1, 0, 4096);
      const rollback = pausedChild(call('rollback', `${name}@s`, {}), withClock(clock));
      await rollback.until(/^renameat2 pre-rollback|^zfs change .*@pre-rollback/);
      await rollback.kill();
      await runChild(call('open'), withClock(clocks.at(index - 1) ?? 0));
    }
    expect(staged(suite.home)).toEqual([]);
    await expectPatterns(
      suite,
      (await suite.pool.listSnapshots(name)).map(({ reference }) => reference),
    );
    await expectPatterns(suite, [name]);
  });

  test('opening a pool with a clock far ahead takes nothing of what is under way', async () => {
    const { name } = await suite.volume(4096);
    await using clone = pausedChild(call('clone', name, `${name}-copy`, {}), withClock(-20_000 * day));
    await clone.until(/^renameat2 .*-copy$|^zfs rename /);
    await runChild(call('open'), withClock(20_000 * day));
    await clone.finish();
    await using pool = await openPool(suite.home.path, { inline: true });
    expect((await pool.show(`${name}-copy`)).problems).toEqual([]);
  });
});

/** The first holds pattern 0, the second 1, and so on. */
async function expectPatterns(suite: Suite, references: readonly string[]): Promise<void> {
  for (const [index, reference] of references.entries())
    expect(
      readFileSync(await suite.pool.diskPath(reference))
        .subarray(0, 4096)
        .equals(patternBytes(index, 4096)),
      reference,
    ).toBe(true);
}
