import fc from 'fast-check';
import { expect, test } from 'vitest';
import { digest, digestOf, writePattern } from '../support/content.ts';
import { backends } from './backends.ts';
import { conformance, type Suite } from './suite.ts';

const MiB = 2 ** 20;

/** On file systems this is counted to the byte; ZFS also counts what it needs for itself. */
if (!backends.some(({ name }) => name === 'zfs'))
  test.skip('usage of zfs alone (skipped: it runs in a guest, see test/guest)', () => {});
else {
  conformance('usage of zfs alone', (suite) => {
    test('what was written after the last clone is free when the volume is removed, and the clones stay as they are', async () => {
      const { pool } = suite;
      const usedBytes = async (): Promise<number> => {
        await pool.usage([], { exact: true }); // waits until what was removed is freed
        return suite.backend.tools.usedBytes(suite.home.path);
      };
      const { name, path } = await suite.volume(8 * MiB);
      const first = digestOf(writePattern(path, 1, 0, 8 * MiB));
      const [clone, template] = [suite.name('clone'), suite.name('template')];
      await pool.clone(name, clone);
      const second = digestOf(writePattern(path, 2, 0, 8 * MiB));
      await pool.seal(name, template);
      await pool.snapshot(`${name}@s`);
      writePattern(path, 3, 0, 8 * MiB);
      const before = await usedBytes();
      await pool.remove(name, { withSnapshots: true });
      expect(before - (await usedBytes())).toBeGreaterThan(7 * MiB);
      expect(digest(await pool.diskPath(clone))).toBe(first);
      await pool.clone(template, `${clone}-2`);
      expect(digest(await pool.diskPath(`${clone}-2`))).toBe(second);
      await pool.remove([`${clone}-2`, template, clone]);
      expect(before - (await usedBytes())).toBeGreaterThan(23 * MiB);
      expect((await pool.describe()).tombstones).toBe(0);
    });

    test('of the states that rollbacks have replaced only what their snapshots need is kept, and each says what it frees', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(16 * MiB);
      const digests: string[] = [];
      const states = ['a', 'b', 'c'];
      for (const [seed, state] of states.entries()) {
        digests.push(digestOf(writePattern(path, seed, 0, 4 * MiB), 16 * MiB));
        await pool.snapshot(`${name}@${state}`);
      }
      writePattern(path, 9, 4 * MiB, 4 * MiB);
      const { undo = '' } = await pool.rollback(`${name}@a`);
      const removed = [undo, `${name}@b`, `${name}@c`];
      for (const [index, reference] of removed.entries()) {
        expect(await freedBy(suite, reference), reference).toBeGreaterThan(3.5 * MiB);
        const left = (await pool.listSnapshots(name)).map((each) => each.name).sort();
        expect(left).toEqual(
          states.filter((state) => !removed.slice(0, index + 1).includes(`${name}@${state}`)),
        );
        for (const state of left) {
          const clone = suite.name('clone');
          await pool.clone(`${name}@${state}`, clone);
          expect(digest(await pool.diskPath(clone)), state).toBe(digests[states.indexOf(state)]);
          await pool.remove(clone);
        }
      }
    });

    test('a clone of something removed says what goes with it, when others were cloned from that before', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(16 * MiB);
      const [older, newer] = [suite.name('older'), suite.name('newer')];
      for (const [seed, clone] of [older, newer].entries()) {
        writePattern(path, seed, 0, (4 + 4 * seed) * MiB);
        await pool.clone(name, clone);
      }
      writePattern(path, 9, 0, 8 * MiB);
      await pool.remove(name);
      for (const clone of [newer, older])
        expect(await freedBy(suite, clone), clone).toBeGreaterThan(3.5 * MiB);
    });

    test('what it says is exclusive is what is free after a removal, whatever was cloned and removed before', async () => {
      const { pool } = suite;
      const step = fc.record({
        kind: fc.constantFrom('write', 'write', 'clone', 'clone', 'snapshot', 'rollback', 'seal'),
        which: fc.nat(),
        block: fc.nat(3),
        seed: fc.nat(),
      });
      const order = fc.infiniteStream(fc.nat());
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 8 }), order, async (steps, orders) => {
          const first = await suite.volume(4 * MiB);
          writePattern(first.path, 1, 0, 4 * MiB);
          const [volumes, snapshots, sealed] = [[first.name], [] as string[], [] as string[]];
          const any = <T>(list: readonly T[], at: number): T | undefined => list[at % list.length];
          for (const { kind, which, block, seed } of steps) {
            const name = any(volumes, which) ?? '';
            const snapshot = any(snapshots, which);
            if (kind === 'write') writePattern(await pool.diskPath(name), seed, block * MiB, MiB);
            else if (kind === 'snapshot')
              snapshots.push((await pool.snapshot(`${name}@${suite.name('s')}`)).reference);
            else if (kind === 'seal') sealed.push((await pool.seal(name, suite.name('t'))).name);
            else if (kind === 'rollback' && snapshot) await pool.rollback(snapshot);
            else
              volumes.push(
                (await pool.clone(any([name, ...snapshots, ...sealed], seed) ?? '', suite.name('clone')))
                  .name,
              );
          }
          const left = new Set([
            ...volumes,
            ...sealed,
            ...(await pool.listSnapshots()).map((each) => each.reference),
          ]);
          for (const at of orders) {
            const removable = [...left].filter(
              (each) => ![...left].some((other) => other.startsWith(`${each}@`)),
            );
            const reference = any(removable, at);
            if (reference === undefined) break;
            await freedBy(suite, reference);
            left.delete(reference);
          }
        }),
        { numRuns: 2 },
      );
    });
  });
}

/** Removes what must say, alone and among all, how many bytes go with it. Returns how many have gone. */
async function freedBy({ pool, backend, home }: Suite, reference: string): Promise<number> {
  const said = (await pool.usage([reference], { exact: true })).usages[0]?.exclusiveBytes ?? Number.NaN;
  const listed = (await pool.usage([])).usages.find((each) => each.reference === reference);
  expect(listed?.exclusiveBytes, reference).toBe(said);
  const before = backend.tools.usedBytes(home.path);
  await pool.remove(reference);
  await pool.usage([], { exact: true }); // waits until it is freed
  const freed = before - backend.tools.usedBytes(home.path);
  expect(Math.abs(freed - said), reference).toBeLessThan(MiB / 3);
  return freed;
}
