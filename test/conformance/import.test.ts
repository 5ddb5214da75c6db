import {
  appendFileSync,
  copyFileSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writeAt, writePattern } from '../support/content.ts';
import { sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

conformance('import', (suite) => {
  const file = (label: string): string => join(suite.scratch, `${suite.name('image')}.${label}`);

  /** A raw image with a pattern at its start, a hole, and a pattern behind it. */
  const rawImage = (bytes: number, seed: number): string => {
    const path = sparseFile(bytes, file('raw'));
    writePattern(path, seed, 0, Math.min(bytes, 192 * 1024));
    if (bytes > 4 * MiB) writePattern(path, seed + 1, bytes - MiB, MiB);
    return path;
  };

  const qcow2Image = (raw: string, ...options: string[]): string => {
    const path = file('qcow2');
    runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, path]);
    return path;
  };

  /** An import that must fail, and leave nothing: no name, no entry, no space. */
  const refused = async (
    source: string,
    code: Parameters<typeof refusal>[1],
    options: Parameters<typeof suite.pool.import>[2] = {},
  ): Promise<string> => {
    const name = suite.name('t');
    const before = await suite.pool.list();
    const error = await refusal(() => suite.pool.import(name, source, options), code);
    expect(await suite.pool.list()).toEqual(before);
    expect(staged(suite.home)).toEqual([]);
    return error.message;
  };

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
      expect(statSync(path).blocks * 512).toBeLessThan(2 * MiB);
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
      expect(digest(before.path)).toBe(digest(raw));
    });
  });

  test('of a qcow2 image, cancelled at any moment: it ends, and nothing is left', async () => {
    const source = qcow2Image(rawImage(8 * MiB, 5));
    for (let round = 0; round < 100; round++) {
      const signal = AbortSignal.timeout(round % 25);
      const done = suite.pool.import(suite.name('t'), source, { signal });
      await done.catch((error: unknown) => expect(error).toMatchObject({ code: 'cancelled' }));
      expect(staged(suite.home)).toEqual([]);
    }
  });

  test.each([1, 511, 4095, 4096, 4097, 65535, 65537, 4 * MiB + 1])(
    'of a raw image of %i bytes: rounded up with zeros, and that is said',
    async (bytes) => {
      const path = file('raw');
      writeFileSync(path, patternBytes(bytes, bytes));
      const name = suite.name('t');
      const rounded = Math.ceil(bytes / 4096) * 4096;
      const imported = await suite.pool.import(name, path);
      expect(imported.bytes).toBe(rounded);
      expect(imported.roundedFrom).toBe(rounded === bytes ? undefined : bytes);
      expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(patternBytes(bytes, bytes), rounded));
    },
  );

  test('of a raw image on the same file system: its blocks are shared, an odd size too', async () => {
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
  });

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
    expect(imported).toMatchObject({ bytes: MiB + 4096, roundedFrom: MiB + 512 });
    expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(patternBytes(9, MiB + 512), MiB + 4096));
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

  describe('of a hostile image', () => {
    const secret = (): string => {
      const path = file('secret');
      writeFileSync(path, Buffer.alloc(64 * 1024, 'the secret of the host '));
      return path;
    };

    test.each(['compat=0.10', 'compat=1.1'])(
      'qcow2 (%s) whose backing file is a file of the host',
      async (compat) => {
        for (const backing of ['/etc/passwd', secret()]) {
          const path = file('qcow2');
          runProgram('qemu-img', [
            'create',
            '-q',
            '-f',
            'qcow2',
            '-o',
            compat,
            '-b',
            backing,
            '-F',
            'raw',
            path,
          ]);
          expect(await refused(path, 'invalid_image')).toContain('flatten it');
          await refused(path, 'invalid_image', { format: 'qcow2' });
        }
      },
    );

    test('qcow2 with an external data file', async () => {
      const data = secret();
      const path = file('qcow2');
      runProgram('qemu-img', [
        'create',
        '-q',
        '-f',
        'qcow2',
        '-o',
        `data_file=${data}.data,data_file_raw=on`,
        path,
        '1M',
      ]);
      copyFileSync(data, `${data}.data`);
      expect(await refused(path, 'invalid_image')).toContain('external file');
      // The same with the name of the data file still there, but the feature bit cleared.
      writeAt(path, Buffer.alloc(8), 72);
      const name = suite.name('t');
      const outcome = await suite.pool.import(name, path).catch(() => undefined);
      if (outcome) expect(readFileSync(await suite.pool.diskPath(name)).includes('secret')).toBe(false);
    });

    test('a vmdk descriptor that names a file of the host, and other formats', async () => {
      const descriptor = `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 128 FLAT "${secret()}" 0\n`;
      const path = file('vmdk');
      writeFileSync(path, descriptor);
      expect(await refused(path, 'invalid_image')).toContain('VMDK');
      await refused(path, 'invalid_image', { format: 'qcow2' });
      const name = suite.name('t');
      await suite.pool.import(name, path, { format: 'raw' }); // then it is only text
      expect(readFileSync(await suite.pool.diskPath(name), 'utf8').startsWith(descriptor)).toBe(true);
      const raw = rawImage(MiB, 10);
      for (const format of ['vmdk', 'vdi', 'vhdx', 'vpc', 'qed']) {
        const other = file(format);
        runProgram('qemu-img', ['convert', '-f', 'raw', '-O', format, raw, other]);
        await refused(other, 'invalid_image');
      }
      runProgram('gzip', ['--', raw]);
      expect(await refused(`${raw}.gz`, 'invalid_image')).toContain('gzip');
    });

    const corruptions: ReadonlyArray<readonly [string, (path: string) => void]> = [
      ['version 9', (path) => patch32(path, 4, 9)],
      ['encrypted', (path) => patch32(path, 32, 1)],
      ['encrypted with LUKS', (path) => patch32(path, 32, 2)],
      ['marked corrupt', (path) => patch64(path, 72, 2n)],
      ['with unknown features', (path) => patch64(path, 72, 1n << 40n)],
      ['with clusters of 2^31 bytes', (path) => patch32(path, 20, 31)],
      ['with clusters of 1 byte', (path) => patch32(path, 20, 0)],
      ['of 2^63 bytes', (path) => patch64(path, 24, 1n << 63n)],
      ['of 8 PiB less a block', (path) => patch64(path, 24, 2n ** 53n - 8192n)],
      ['with an L1 table outside of the file', (path) => patch64(path, 40, 1n << 50n)],
      ['with an L1 table of 2^32 entries', (path) => patch32(path, 36, 0xffff_ffff)],
      ['with an L1 table over the header', (path) => patch64(path, 40, 0n)],
      ['with a refcount table over the header', (path) => patch64(path, 48, 0n)],
      ['with a refcount table outside of the file', (path) => patch64(path, 48, 1n << 50n)],
      ['with 2^31 snapshots inside', (path) => patch32(path, 60, 0x7fff_ffff)],
      ['with a header of 4 GiB', (path) => patch32(path, 100, 0xffff_ffff)],
      ['with refcounts of 2^255 bits', (path) => patch32(path, 96, 255)],
      [
        'with L1 entries that point nowhere',
        (path) => writeAt(path, patternBytes(11, 16), tableAt(path, 40)),
      ],
      ['with L2 entries that point nowhere', (path) => writeAt(path, patternBytes(12, 4096), l2At(path))],
      ['with refcounts of garbage', (path) => writeAt(path, patternBytes(13, 4096), refcountsAt(path))],
      ['cut in the middle', (path) => truncateSync(path, Math.floor(statSync(path).size / 2))],
      ['cut in the header', (path) => truncateSync(path, 40)],
      ['cut behind the header of version 2', (path) => truncateSync(path, 80)],
    ];

    test.each(corruptions)('qcow2 %s', async (_, corrupt) => {
      const path = qcow2Image(rawImage(16 * MiB, 14));
      corrupt(path);
      await refused(path, 'invalid_image');
    });

    test('qcow2 whose compressed data can not be unpacked', async () => {
      const raw = file('raw');
      writeFileSync(raw, Buffer.alloc(MiB, 'compressible '));
      const path = qcow2Image(raw, '-c');
      // The first compressed cluster lies behind the tables; its offset stands in the low bits of its entry.
      using image = new Descriptor(openSync(path, 'r'));
      const entry = readFileSync(image.fd).readBigUInt64BE(l2At(path));
      writeAt(path, Buffer.alloc(64, 0xff), Number(entry & 0x003f_ffff_ffff_ffffn));
      expect(await refused(path, 'io_error')).toContain('it is damaged, or a disk is; fetch it again');
    });

    test('qcow2 with bytes behind its end is taken for what it is', async () => {
      const raw = rawImage(8 * MiB, 15);
      const path = qcow2Image(raw);
      appendFileSync(path, Buffer.alloc(100_000, 1));
      const name = suite.name('t');
      const imported = await suite.pool
        .import(name, path)
        .catch((error: unknown) => refusal(() => Promise.reject(error)));
      if ('bytes' in imported) expect(digest(await suite.pool.diskPath(name))).toBe(digest(raw));
    });

    test('qcow2 of a huge size with nothing in it takes no space and no time', async () => {
      const path = file('qcow2');
      runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', path, '1P']);
      const name = suite.name('t');
      const imported = await suite.pool.import(name, path);
      expect(imported.bytes).toBe(2 ** 50);
      expect(statSync(await suite.pool.diskPath(name)).blocks).toBe(0);
    });

    test('any change of the first 64 KiB: a typed refusal, or the same disk that qemu-img reads', async () => {
      const raw = rawImage(2 * MiB, 16);
      const original = readFileSync(qcow2Image(raw));
      const interesting = fc.oneof(
        fc.nat({ max: 111 }),
        fc.nat({ max: 600 }),
        fc.nat({ max: original.length - 9 }),
      );
      const value = fc.oneof(
        fc.constantFrom(0n, 1n, 2n, 4n, 0xffn, 0xffff_ffffn, 0x7fff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn),
        fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
      );
      const change = fc.record({ at: interesting, width: fc.constantFrom(1, 4, 8), value });
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
          const bytes = Buffer.from(original);
          for (const { at, width, value } of changes)
            bytes.writeUIntBE(Number(BigInt.asUintN(Math.min(width, 6) * 8, value)), at, Math.min(width, 6));
          const path = file('fuzz');
          writeFileSync(path, bytes);
          const name = suite.name('fuzz');
          let imported = false;
          try {
            await suite.pool.import(name, path, { format: 'qcow2' });
            imported = true;
          } catch (error) {
            await refusal(() => Promise.reject(error));
          }
          expect(staged(suite.home)).toEqual([]);
          expect((await suite.pool.list()).some((volume) => volume.name === name)).toBe(imported);
          if (!imported) return;
          const disk = await suite.pool.diskPath(name);
          if (statSync(disk).size <= 64 * MiB) {
            const reference = file('reference');
            runProgram('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, reference]);
            truncateSync(reference, statSync(disk).size);
            expect(digest(disk)).toBe(digest(reference));
          }
          await suite.pool.remove(name);
        }),
        { numRuns: process.env['COPPICE_TORTURE'] === '1' ? 2000 : 60 },
      );
    });
  });
});

conformance('export', (suite) => {
  test.each(['raw', 'qcow2'] as const)(
    'as %s gives back what was imported, from each kind',
    async (format) => {
      const { name, path } = await suite.volume(8 * MiB);
      const bytes = writePattern(path, 20, MiB, MiB);
      await suite.pool.snapshot(`${name}@s`);
      const template = suite.name('t');
      await suite.pool.seal(name, template);
      for (const source of [name, `${name}@s`, template]) {
        const target = join(suite.scratch, suite.name('out'));
        expect(await suite.pool.export(source, target, { format })).toEqual({
          source,
          file: target,
          format,
          bytes: 8 * MiB,
        });
        const again = suite.name('t');
        await suite.pool.import(again, target, { format });
        const disk = await suite.pool.diskPath(again);
        expect(digest(disk)).toBe(digest(path));
        expect(
          readFileSync(disk)
            .subarray(MiB, 2 * MiB)
            .equals(bytes),
        ).toBe(true);
        expect(statSync(target).blocks * 512).toBeLessThan(4 * MiB);
      }
    },
  );

  test('never overwrites unasked, never leaves a part', async () => {
    const { name } = await suite.volume();
    const target = join(suite.scratch, suite.name('out'));
    writeFileSync(target, 'precious');
    await refusal(() => suite.pool.export(name, target), 'already_exists');
    expect(readFileSync(target, 'utf8')).toBe('precious');
    await suite.pool.export(name, target, { overwrite: true });
    expect(digest(target)).toBe(digestOf(Buffer.alloc(0), MiB));
    await refusal(() => suite.pool.export(name, join(suite.scratch, 'no', 'such')), 'not_found');
    await refusal(() => suite.pool.export('never-made', `${target}.2`), 'not_found');
    await refusal(() => suite.pool.export(name, `${target}.3`, { signal: AbortSignal.abort() }), 'cancelled');
    const link = `${target}.link`;
    symlinkSync(target, link);
    await refusal(() => suite.pool.export(name, link, { overwrite: true }), 'invalid_argument');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    const disk = await suite.pool.diskPath(name);
    await refusal(() => suite.pool.export(name, disk, { overwrite: true }), 'invalid_argument');
    const left = runProgram('find', [suite.scratch, '-name', '*.partial']);
    expect(left).toBe('');
  });

  test('follows no link that somebody put in the place of a disk', async () => {
    const { name, path } = await suite.volume();
    runProgram('ln', ['--symbolic', '--force', '--', '/etc/passwd', path]);
    await refusal(() => suite.pool.export(name, join(suite.scratch, suite.name('out'))), 'damaged');
  });
});

function patch32(path: string, at: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  writeAt(path, bytes, at);
}

function patch64(path: string, at: number, value: bigint): void {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  writeAt(path, bytes, at);
}

/** The offset that stands in a qcow2 header or table, without its flags. */
function tableAt(path: string, at: number): number {
  using image = new Descriptor(openSync(path, 'r'));
  return Number(readFileSync(image.fd).readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
}

function l2At(path: string): number {
  return tableAt(path, tableAt(path, 40));
}

function refcountsAt(path: string): number {
  return tableAt(path, tableAt(path, 48));
}
