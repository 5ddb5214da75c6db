import { statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writeAt } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { imageFiles } from './images.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

conformance('import', (suite) => {
  const { file, rawImage, qcow2Image, refused } = imageFiles(suite);

  describe.each(['raw', 'qcow2'] as const)('of a %s image', (format) => {
    test('content is right byte for byte, sparse stays sparse, the template is whole', async () => {
      const raw = rawImage(64 * MiB, 1);
      const source = format === 'raw' ? raw : qcow2Image(raw);
      const name = suite.name('t');
      const steps: Array<[string, number]> = [];
      const imported = await suite.pool.import(name, source, {
        onProgress: ({ step, fraction }) => steps.push([step, fraction]),
      });
      expect(imported).toMatchObject({ name, bytes: 64 * MiB, format, shared: false });
      const path = await suite.pool.diskPath(name);
      expect(digest(path)).toBe(digest(raw));
      const [usage] = (await suite.pool.usage([name])).usages;
      expect(usage?.referencedBytes).toBeLessThan(2 * MiB);
      expect(await suite.pool.show(name)).toMatchObject({
        type: 'template',
        method: 'import',
        ancestors: [],
        problems: [],
        extents: imported.extents,
      });
      expect(steps.every(([, fraction]) => fraction >= 0 && fraction <= 1)).toBe(true);
      expect(steps.map(([step]) => step)).toContain('copying');
      const clone = suite.name('clone');
      await suite.pool.clone(name, clone);
      expect(digest(await suite.pool.diskPath(clone))).toBe(digest(raw));
    });

    test('of which the checksum is given: right is imported, wrong is refused', async () => {
      const raw = rawImage(8 * MiB, 2);
      const source = format === 'raw' ? raw : qcow2Image(raw);
      const sha256 = digest(source);
      await suite.pool.import(suite.name('t'), source, { sha256: sha256.toUpperCase() });
      const message = await refused(source, 'checksum_mismatch', {
        sha256: sha256.replace(/^./, (c) => (c === '0' ? '1' : '0')),
      });
      expect(message).toContain(sha256);
      await refused(source, 'invalid_argument', { sha256: 'abc' });
    });

    test('that changes meanwhile is refused, also when its time is set back', async () => {
      const raw = rawImage(32 * MiB, 3);
      const source = format === 'raw' ? raw : qcow2Image(raw, '-o', 'preallocation=falloc');
      const times = file('times');
      runProgram('cp', ['--attributes-only', '--preserve=timestamps', '--', source, times]);
      let changed = false;
      const message = await refused(source, 'invalid_image', {
        sha256: digest(source),
        onProgress: ({ step }) => {
          if (changed || step !== 'copying') return;
          changed = true;
          // Deep inside, where it harms no header.
          writeAt(source, Buffer.from('changed'), statSync(source).size - 512 * 1024);
          runProgram('touch', [`--reference=${times}`, '--', source]);
        },
      });
      expect(message).toContain('changed');
    });

    test('cancelled, before and in the middle: nothing is left', async () => {
      const raw = rawImage(64 * MiB, 4);
      const source = format === 'raw' ? raw : qcow2Image(raw);
      await refused(source, 'cancelled', { signal: AbortSignal.abort() });
      const controller = new AbortController();
      await refused(source, 'cancelled', {
        signal: controller.signal,
        onProgress: ({ step }) => step === 'copying' && controller.abort(),
      });
    });

    test('declared as the other format is refused', async () => {
      const raw = rawImage(4 * MiB, 5);
      const source = format === 'raw' ? raw : qcow2Image(raw);
      const other = format === 'raw' ? 'qcow2' : 'raw';
      expect(await refused(source, 'invalid_image', { format: other })).toContain(format);
      await suite.pool.import(suite.name('t'), source, { format });
    });

    test('a failed import leaves the older template of that name', async () => {
      const raw = rawImage(4 * MiB, 6);
      const source = format === 'raw' ? raw : qcow2Image(raw);
      const name = suite.name('t');
      await suite.pool.import(name, source);
      const before = await suite.pool.show(name);
      await refusal(() => suite.pool.import(name, source, { sha256: '0'.repeat(64) }));
      await refusal(() => suite.pool.import(name, '/never/made'));
      expect(await suite.pool.show(name)).toEqual(before);
      expect(digest(before.path ?? '')).toBe(digest(raw));
    });
  });

  test('of a qcow2 image, cancelled at any moment: it ends, and nothing is left', async () => {
    const source = qcow2Image(rawImage(8 * MiB, 5));
    for (let round = 0; round < 100 * suite.backend.scale; round++) {
      const signal = AbortSignal.timeout(round % 25);
      const done = suite.pool.import(suite.name('t'), source, { signal });
      await done.catch((error: unknown) => expect(error).toMatchObject({ code: 'cancelled' }));
      expect(staged(suite.home)).toEqual([]);
    }
  });

  const unit = suite.backend.sizeUnit;
  test.each([1, 511, 4095, 4096, 4097, 65535, 65537, 4 * MiB + 1])(
    'of a raw image of %i bytes: rounded up with zeros, and that is said',
    async (bytes) => {
      const path = file('raw');
      writeFileSync(path, patternBytes(bytes, bytes));
      const name = suite.name('t');
      const rounded = Math.ceil(bytes / unit) * unit;
      const imported = await suite.pool.import(name, path);
      expect(imported.bytes).toBe(rounded);
      expect(imported.roundedFrom).toBe(rounded === bytes ? undefined : bytes);
      expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(patternBytes(bytes, bytes), rounded));
    },
  );

  suite.needs('files')(
    'of a raw image on the same file system: its blocks are shared, an odd size too',
    async () => {
      for (const bytes of [8 * MiB, 8 * MiB + 1]) {
        const path = join(suite.home.path, suite.name('image'));
        writeFileSync(path, patternBytes(7, bytes));
        const name = suite.name('t');
        expect(await suite.pool.import(name, path)).toMatchObject({ shared: true });
        const disk = await suite.pool.diskPath(name);
        const rounded = Math.ceil(bytes / 4096) * 4096;
        expect(digest(disk)).toBe(digestOf(patternBytes(7, bytes), rounded));
        writeAt(path, Buffer.from('later'), 0);
        expect(digest(disk)).toBe(digestOf(patternBytes(7, bytes), rounded));
      }
    },
  );

  test('of qcow2 variants: old version, compressed, zstd, small and large clusters, subclusters, snapshots inside', async () => {
    const raw = rawImage(8 * MiB, 8);
    for (const options of [
      ['-o', 'compat=0.10'],
      ['-c'],
      ['-c', '-o', 'compression_type=zstd'],
      ['-o', 'cluster_size=512'],
      ['-o', 'cluster_size=2M'],
      ['-o', 'extended_l2=on,cluster_size=128k'],
      ['-o', 'refcount_bits=1'],
      ['-o', 'lazy_refcounts=on'],
      ['-o', 'preallocation=full'],
    ]) {
      const source = qcow2Image(raw, ...options);
      const snapshots = options.join().includes('compat') ? ['one', 'two'] : [];
      for (const each of snapshots) runProgram('qemu-img', ['snapshot', '-c', each, source]);
      const name = suite.name('t');
      const imported = await suite.pool.import(name, source);
      expect(imported.snapshotsLeftOut).toBe(snapshots.length || undefined);
      expect(digest(await suite.pool.diskPath(name)), options.join(' ')).toBe(digest(raw));
    }
  });

  test('of a qcow2 image of an unaligned size', async () => {
    const raw = file('raw');
    writeFileSync(raw, patternBytes(9, MiB + 512));
    const name = suite.name('t');
    const imported = await suite.pool.import(name, qcow2Image(raw));
    expect(imported).toMatchObject({ bytes: MiB + unit, roundedFrom: MiB + 512 });
    expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(patternBytes(9, MiB + 512), MiB + unit));
  });

  test('of what is no image: empty, a directory, a device, a pipe, absent, a broken link', async () => {
    const empty = file('empty');
    writeFileSync(empty, '');
    await refused(empty, 'invalid_image');
    const noBytes = file('qcow2');
    runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', noBytes, '0']);
    await refused(noBytes, 'invalid_image');
    await refused(suite.scratch, 'invalid_image');
    await refused('/dev/zero', 'invalid_image');
    const pipe = file('pipe');
    runProgram('mkfifo', ['--', pipe]);
    await refused(pipe, 'invalid_image');
    await refused(join(suite.scratch, 'never-made'), 'not_found');
    const link = file('link');
    symlinkSync('/never/made', link);
    await refused(link, 'not_found');
    await refused(`${suite.scratch}/nul\0byte`, 'invalid_argument');
  });
});
