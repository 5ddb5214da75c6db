import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Usage } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance('usage', (suite) => {
  const exact = async (reference: string): Promise<Usage> => {
    const { usages, settled } = await suite.pool.usage([reference], { exact: true });
    expect(settled).toBe(true);
    const [usage] = usages;
    if (!usage) throw new Error(`no usage of ${reference}`);
    return usage;
  };

  /** ZFS counts what it needs for itself, too, and never less than a block. */
  const bytes = (exactly: number): number =>
    suite.backend.traits.files === true ? exactly : (expect.closeTo(exactly, -6) as number);

  test('right to the block after a known write pattern', async () => {
    const { name, path } = await suite.volume(64 * MiB);
    writePattern(path, 1, 0, 3 * MiB);
    writePattern(path, 2, 10 * MiB, 4096);
    writePattern(path, 3, 20 * MiB + 8192, 12288);
    expect(await exact(name)).toEqual({
      reference: name,
      logicalBytes: 64 * MiB,
      referencedBytes: bytes(3 * MiB + 16384),
      exclusiveBytes: bytes(3 * MiB + 16384),
      exclusiveAt: expect.stringMatching(/Z$/),
      ...(suite.backend.name === 'zfs' && { compressRatio: expect.any(Number) as number }),
    });
  });

  suite.needs('wholeExtents')(
    'an extent of which one block is still used is held on to as a whole',
    async () => {
      const { name, path } = await suite.volume(4 * MiB);
      writePattern(path, 12, 0, MiB);
      writePattern(path, 13, 0, MiB - 4096);
      expect(await exact(name)).toMatchObject({
        referencedBytes: 2 * MiB - 4096,
        exclusiveBytes: 2 * MiB - 4096,
      });
    },
  );

  suite.needs('wholeExtents')('what a clone no longer shows it still shares, or has for itself', async () => {
    const { pool } = suite;
    const source = await suite.volume(4 * MiB);
    writePattern(source.path, 14, 0, MiB);
    const name = suite.name('clone');
    await pool.clone(source.name, name);
    writePattern(await pool.diskPath(name), 15, 0, MiB - 4096);
    expect(await exact(name)).toMatchObject({
      exclusiveBytes: MiB - 4096,
      referencedBytes: 2 * MiB - 4096,
    });
    await pool.remove(source.name);
    expect(await exact(name)).toMatchObject({ exclusiveBytes: 2 * MiB - 4096 });
  });

  suite.needs('files')(
    'what it counts is what the file system gets back, whatever was written, shared and removed before',
    async () => {
      const { pool } = suite;
      const blocks = 256;
      const step = fc.record({
        kind: fc.constantFrom('write', 'write', 'write', 'clone', 'snapshot', 'punch', 'allocate'),
        which: fc.nat(),
        from: fc.nat(blocks - 1),
        length: fc.integer({ min: 1, max: 64 }),
        seed: fc.nat(),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24, size: 'max' }), async (steps) => {
          const volumes = [(await suite.volume(blocks * 4096)).name];
          const all = [...volumes];
          writePattern(await pool.diskPath(all[0] ?? ''), 1, 0, blocks * 4096);
          for (const { kind, which, from, length, seed } of steps) {
            const name = volumes[which % volumes.length] ?? '';
            const [offset, bytes] = [from * 4096, Math.min(length, blocks - from) * 4096];
            if (kind === 'write') writePattern(await pool.diskPath(name), seed, offset, bytes);
            else if (kind === 'clone') {
              volumes.push((await pool.clone(name, suite.name('clone'))).name);
              all.push(volumes.at(-1) ?? '');
            } else if (kind === 'snapshot')
              all.push((await pool.snapshot(`${name}@${suite.name('s')}`)).reference);
            else {
              const mode = kind === 'punch' ? ['--punch-hole'] : [];
              const range = ['--offset', String(offset), '--length', String(bytes)];
              runProgram('fallocate', [...mode, ...range, '--', await pool.diskPath(name)]);
            }
          }
          // The snapshots first, then what they were taken of.
          for (const reference of all.sort((a, b) => Number(b.includes('@')) - Number(a.includes('@')))) {
            const { exclusiveBytes, referencedBytes } = await exact(reference);
            expect(exclusiveBytes).toBeLessThanOrEqual(referencedBytes);
            const before = suite.backend.tools.usedBytes(suite.home.path);
            await pool.remove(reference);
            await pool.usage([], { exact: true }); // waits until it is freed
            expect(before - suite.backend.tools.usedBytes(suite.home.path), reference).toBe(exclusiveBytes);
          }
        }),
        { numRuns: Math.ceil(6 * suite.backend.scale) },
      );
    },
  );

  test('zero exclusive for a fresh clone; after a write exactly what was written', async () => {
    const { pool } = suite;
    const source = await suite.volume(8 * MiB);
    writePattern(source.path, 4, 0, 8 * MiB);
    const template = suite.name('t');
    await pool.seal(source.name, template);
    await pool.remove(source.name);
    const name = suite.name('clone');
    await pool.clone(template, name);
    expect(await exact(name)).toMatchObject({ referencedBytes: bytes(8 * MiB), exclusiveBytes: bytes(0) });
    expect(await exact(template)).toMatchObject({
      referencedBytes: bytes(8 * MiB),
      exclusiveBytes: bytes(0),
    });
    writePattern(await pool.diskPath(name), 5, 2 * MiB, 40960);
    // What was overwritten may be a part of an extent that is held on to as a whole.
    const held = suite.backend.traits.wholeExtents === true ? 40960 : 0;
    expect(await exact(name)).toMatchObject({
      referencedBytes: bytes(8 * MiB + held),
      exclusiveBytes: bytes(40960),
    });
  });

  test('the last holder of shared data has all of it', async () => {
    const { pool } = suite;
    const source = await suite.volume(8 * MiB);
    writePattern(source.path, 6, 0, 8 * MiB);
    const template = suite.name('t');
    await pool.seal(source.name, template);
    const name = suite.name('clone');
    await pool.clone(template, name);
    await pool.remove([source.name, template]);
    expect(await exact(name)).toMatchObject({ exclusiveBytes: bytes(8 * MiB) });
  });

  suite.needs('snapshots')('a snapshot shares with its volume until that is overwritten', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume(4 * MiB);
    writePattern(path, 7, 0, 4 * MiB);
    await pool.snapshot(`${name}@s`);
    expect(await exact(`${name}@s`)).toMatchObject({
      referencedBytes: bytes(4 * MiB),
      exclusiveBytes: bytes(0),
    });
    writePattern(path, 8, 0, 4 * MiB);
    expect(await exact(`${name}@s`)).toMatchObject({ exclusiveBytes: bytes(4 * MiB) });
    expect(await exact(name)).toMatchObject({ exclusiveBytes: bytes(4 * MiB) });
    await pool.remove(`${name}@s`);
    expect(await exact(name)).toMatchObject({ exclusiveBytes: bytes(4 * MiB) });
  });

  suite.needs('usageIsMeasured')(
    'the cached answer says when it was true, and a new measurement replaces it',
    async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(4 * MiB);
      const created = (await pool.show(name)).created;
      const [born] = (await pool.usage([name])).usages;
      expect(born).toMatchObject({ exclusiveBytes: bytes(0), exclusiveAt: created });
      writePattern(path, 9, 0, MiB);
      const measured = await exact(name);
      writePattern(path, 10, MiB, MiB);
      const [cached] = (await pool.usage([name])).usages;
      expect(cached).toEqual({ ...measured, referencedBytes: bytes(2 * MiB) }); // referenced is read live
      expect((await suite.home.reopen().then((again) => again.usage([name]))).usages).toEqual([cached]);
      expect((await exact(name)).exclusiveBytes).toBe(2 * MiB);
    },
  );

  suite.needs('usageIsMeasured')('what was never measured is not invented', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume(MiB);
    writePattern(path, 11, 0, MiB);
    await pool.snapshot(`${name}@s`);
    const [usage] = (await pool.usage([`${name}@s`])).usages;
    expect(usage).toEqual({ reference: `${name}@s`, logicalBytes: MiB, referencedBytes: bytes(MiB) });
  });

  test('of everything: each volume and each snapshot once', async () => {
    const { pool } = suite;
    const expected = [
      ...(await pool.list()).map((volume) => volume.name),
      ...(await pool.listSnapshots()).map((snapshot) => snapshot.reference),
    ];
    const { usages } = await pool.usage();
    expect(usages.map((usage) => usage.reference).sort()).toEqual(expected.sort());
  });

  test('of what is not there is refused', async () => {
    await refusal(() => suite.pool.usage(['never-made']), 'not_found');
    const { name } = await suite.volume();
    await refusal(() => suite.pool.usage([`${name}@never`]), 'not_found');
  });
});
