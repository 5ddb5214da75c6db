import {
  appendFileSync,
  copyFileSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, diskBytes, patternBytes, writeAt } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { imageFiles } from './images.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

conformance('import of a hostile image', (suite) => {
  const { file, rawImage, qcow2Image, refused } = imageFiles(suite);

  const secret = (): string => {
    const path = file('secret');
    writeFileSync(path, Buffer.alloc(64 * 1024, 'the secret of the host '));
    return path;
  };

  const createQcow2 = (options: string, ...rest: string[]): void => {
    runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, ...rest]);
  };

  test.each(['compat=0.10', 'compat=1.1'])(
    'qcow2 (%s) whose backing file is a file of the host',
    async (compat) => {
      for (const backing of ['/etc/passwd', secret()]) {
        const path = file('qcow2');
        createQcow2(compat, '-b', backing, '-F', 'raw', path);
        expect(await refused(path, 'invalid_image')).toContain('flatten it');
        await refused(path, 'invalid_image', { format: 'qcow2' });
      }
    },
  );

  test('qcow2 with an external data file', async () => {
    const data = secret();
    const path = file('qcow2');
    createQcow2(`data_file=${data}.data,data_file_raw=on`, path, '1M');
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
    ['with L1 entries that point nowhere', (path) => writeAt(path, patternBytes(11, 16), tableAt(path, 40))],
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
    createQcow2('cluster_size=2M', path, '1P');
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
        if (diskBytes(disk) <= 64 * MiB) {
          const reference = file('reference');
          runProgram('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, reference]);
          truncateSync(reference, diskBytes(disk));
          expect(digest(disk)).toBe(digest(reference));
        }
        await suite.pool.remove(name);
      }),
      { numRuns: process.env['COPPICE_LONG'] === '1' ? 2000 : 60 },
    );
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
