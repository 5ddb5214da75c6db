import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { writeQcow2 } from '../../src/images/qcow2.ts';
import { createPool, growPool } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { mountedFileSystem, scratchDirectory, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import type { TestPool } from '../support/test-pool.ts';
import { fileSystems } from './backends.ts';
import { staged } from './suite.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

describe.each(fileSystems)('no space on $name', (backend) => {
  const cleanUp: Array<() => unknown> = [];
  afterEach(async () => {
    for (const step of cleanUp.splice(0).reverse()) await step();
  });

  const poolOf = async (bytes: number, directory?: string): Promise<TestPool> => {
    const home = await backend.makePool({ bytes, ...(directory !== undefined && { directory }) });
    cleanUp.push(() => home[Symbol.asyncDispose]());
    return home;
  };

  test('a full pool: a typed error from everything that needs space, nothing half-made, deletes still work', async () => {
    const home = await poolOf(512 * MiB);
    const { pool } = home;
    await pool.create('v', { bytes: 4 * MiB });
    writePattern(await pool.diskPath('v'), 1, 0, 4 * MiB);
    await pool.seal('v', 't');
    await pool.snapshot('v@s');
    const image = join(home.scratch, 'image.raw');
    writeFileSync(image, patternBytes(2, 64 * MiB));
    await pool.create('filler', { bytes: 2 * GiB });
    const filler = await pool.diskPath('filler');
    for (let offset = 0; ; offset += 16 * MiB) {
      try {
        writePattern(filler, 3, offset, 16 * MiB);
      } catch (error) {
        expect(String(error)).toContain('ENOSPC');
        break;
      }
    }
    const error = await refusal(() => pool.import('big', image), 'no_space');
    expect(error.neededBytes).toBeGreaterThanOrEqual(64 * MiB);
    expect(error.availableBytes).toBeLessThan(64 * MiB);
    expect(error.message).toMatch(/pool grow/);

    // What is small may still fit beside the data; then it must be whole, else it must not be there.
    const attempts: Record<string, (name: string) => Promise<unknown>> = {
      create: (name) => pool.create(name, { bytes: MiB }),
      clone: (name) => pool.clone('t', name),
      'clone of a volume': (name) => pool.clone('v', name),
      seal: (name) => pool.seal('v', name),
      snapshot: (name) => pool.snapshot(`v@${name}`),
      rename: async (name) => {
        await pool.rename('v', name);
        await pool.rename(name, 'v');
      },
      rollback: () => pool.rollback('v@s'),
      grow: () => pool.grow('v', { bytes: 8 * MiB }),
    };
    for (const [operation, attempt] of Object.entries(attempts)) {
      for (let round = 0; round < 20; round++) {
        try {
          await attempt(`${operation.replaceAll(' ', '-')}-${round}`);
        } catch (failure) {
          await refusal(() => Promise.reject(failure), 'no_space');
        }
      }
      expect(staged(home), operation).toEqual([]);
    }
    for (const { name, type } of await pool.list()) {
      expect(type, name).not.toBe('foreign');
      const { problems, snapshotList } = await pool.show(name);
      expect(problems, name).toEqual([]);
      if (/clone|seal/.test(name)) expect(digest(await pool.diskPath(name)).slice(0, 8)).toMatch(/./);
      for (const snapshot of snapshotList) expect(snapshot.created, snapshot.reference).toBeDefined();
    }
    expect(digest(await pool.diskPath('t'))).toBe(digestOf(patternBytes(1, 4 * MiB)));

    await pool.remove('filler');
    await pool.import('big', image); // what was removed a moment ago counts as free
    expect(digest(await pool.diskPath('big'))).toBe(digestOf(patternBytes(2, 64 * MiB)));
    const everything = (await pool.list()).map((volume) => volume.name);
    await pool.remove(everything, { withSnapshots: true });
    expect(await pool.list()).toEqual([]);
  });

  test('a pool that is full of clones, so that not even a name can be moved: deletes still work, and make room', async () => {
    const home = await poolOf(512 * MiB);
    const { pool } = home;
    await pool.create('v', { bytes: 4 * MiB });
    await pool.seal('v', 't');
    await pool.snapshot('v@a');
    await pool.snapshot('v@b');
    await pool.create('filler', { bytes: 2 * GiB });
    expect(() => writePattern(home.path.concat('/volumes/filler/data/disk.raw'), 3, 0, GiB)).toThrow(
      'ENOSPC',
    );
    const clones: string[] = [];
    const fill = async (): Promise<void> => {
      for (;;) {
        const name = `c-${clones.length}`;
        await pool.clone('t', name, { durability: 'deferred' });
        clones.push(name);
      }
    };
    await refusal(fill, 'no_space');
    const gone = ['c-0', 'c-1', 'v@a', 'filler'];
    expect((await pool.remove(gone)).removed).toHaveLength(4);
    expect((await pool.remove('v', { withSnapshots: true })).snapshots).toEqual(['v@b']);
    const left = (await pool.list()).map((volume) => volume.name);
    expect(left.sort()).toEqual(['t', ...clones.slice(2)].sort());
    await pool.remove(clones.slice(2, 50));
    await pool.usage(['t'], { exact: true });
    await pool.clone('t', 'again');
    expect((await pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
  });

  test('a pool that is full to the last block: what was done can be made durable, and deletes work', async () => {
    const { pool } = await poolOf(512 * MiB);
    for (const name of ['v', 'w']) await pool.create(name, { bytes: MiB });
    const stuffing = join(pool.path, 'stuffing');
    writeFileSync(stuffing, '');
    for (let bytes = 16 * MiB; bytes >= 4096; bytes /= 2) appendUntilFull(stuffing, bytes);
    for (let round = 0; round < 3; round++) await pool.sync();
    await pool.remove('v');
    await pool.remove('w', { durability: 'deferred' });
    await pool.sync();
    expect(await pool.list()).toEqual([]);
  });

  test('a pool without room for an import refuses before it writes, and a larger pool takes it', async () => {
    const home = await poolOf(512 * MiB);
    const image = join(home.scratch, 'image.raw');
    sparseFile(2 * GiB, image);
    const { pool } = home;
    for (let part = 0; part < 9; part++) writePattern(image, part, part * 64 * MiB, 64 * MiB);
    const before = (await pool.describe()).space.freeBytes;
    const error = await refusal(() => pool.import('t', image), 'no_space');
    expect(error.neededBytes).toBeGreaterThanOrEqual(9 * 64 * MiB);
    expect(Math.abs((await pool.describe()).space.freeBytes - before)).toBeLessThan(MiB);
    growPool(home.path, 2 * GiB);
    await pool.import('t', image);
    expect(digest(await pool.diskPath('t'))).toBe(digest(image));
    rmSync(image);
  });

  describe('the host under a sparse pool is nearly full', () => {
    const prepared = async (): Promise<{
      home: TestPool;
      fill: () => void;
      free: () => void;
      host: string;
    }> => {
      const host = mountedFileSystem('ext4', 512 * MiB);
      cleanUp.push(() => host[Symbol.dispose]());
      const home = await poolOf(4 * GiB, join(host.path, 'pool'));
      const ballast = join(host.path, 'ballast');
      return {
        home,
        host: host.path,
        fill: () => {
          const { bavail, bsize } = statfsSync(host.path);
          writeFileSync(ballast, Buffer.alloc(bavail * bsize - 50 * MiB, 1));
        },
        free: () => rmSync(ballast),
      };
    };

    test('what would write is refused before the pool breaks; reading and deleting go on; then it works again', async () => {
      const { home, fill, free } = await prepared();
      const { pool } = home;
      await pool.create('v', { bytes: 4 * MiB });
      writePattern(await pool.diskPath('v'), 4, 0, 4 * MiB);
      await pool.snapshot('v@s');
      await pool.seal('v', 't');
      fill();
      const image = join(scratchDirectory(), 'image.raw');
      writeFileSync(image, patternBytes(5, 8 * MiB));
      for (const attempt of [
        () => pool.create('w', { bytes: MiB }),
        () => pool.clone('t', 'w'),
        () => pool.snapshot('v@w'),
        () => pool.seal('v', 'w'),
        () => pool.rollback('v@s'),
        () => pool.grow('v', { bytes: 8 * MiB }),
        () => pool.import('w', image),
      ]) {
        const error = await refusal(attempt, 'no_space');
        expect(error.message).toContain('reserve');
        expect(error.neededBytes).toBeGreaterThanOrEqual(64 * MiB);
        expect(error.availableBytes).toBeLessThan(64 * MiB);
      }
      expect((await pool.check()).map((finding) => finding.severity)).toContain('error');
      expect(digest(await pool.diskPath('v'))).toBe(digestOf(patternBytes(4, 4 * MiB)));
      await pool.remove('v@s');
      await pool.remove('v');
      free();
      await pool.clone('t', 'w');
      expect(digest(await pool.diskPath('w'))).toBe(digestOf(patternBytes(4, 4 * MiB)));
      expect(staged(home)).toEqual([]);
    });

    test('an import that fits the pool but not the host is refused, with what is needed', async () => {
      const { home, host } = await prepared();
      const image = sparseFile(2 * GiB);
      for (let part = 0; part < 8; part++) writePattern(image, part, part * 64 * MiB, 64 * MiB);
      const error = await refusal(() => home.pool.import('t', image), 'no_space');
      expect(error.message).toContain(host);
      expect(error.neededBytes).toBe(statSync(image).blocks * 512 + 64 * MiB);
      expect((await home.pool.check()).some((finding) => finding.message.includes('promises'))).toBe(true);
      rmSync(image);
    });

    test('preallocating more than there is: refused, and nothing is left', async () => {
      const host = mountedFileSystem('ext4', 512 * MiB);
      cleanUp.push(() => host[Symbol.dispose]());
      const file = join(host.path, 'pool.img');
      const path = join(scratchDirectory(), 'mnt');
      const error = await refusal(
        () => createPool({ path, file, bytes: GiB, preallocate: true }),
        'no_space',
      );
      expect([error.neededBytes, (error.availableBytes ?? GiB) < 512 * MiB]).toEqual([GiB, true]);
      expect(statSync(file, { throwIfNoEntry: false })).toBeUndefined();
      const { bavail, bsize } = statfsSync(host.path);
      expect(bavail * bsize).toBe(error.availableBytes);
    });
  });

  describe('the target of an export is nearly full', () => {
    test.each(['raw', 'qcow2'] as const)(
      '%s: refused before it writes, with what is needed',
      async (format) => {
        const { pool, scratch } = await poolOf(2 * GiB);
        const target = mountedFileSystem('ext4', 64 * MiB);
        cleanUp.push(() => target[Symbol.dispose]());
        await pool.create('v', { bytes: GiB });
        writePattern(await pool.diskPath('v'), 6, 0, 96 * MiB);
        const file = join(target.path, 'v.img');
        const before = statfsSync(target.path).bavail;
        const error = await refusal(() => pool.export('v', file, { format }), 'no_space');
        expect(error.message).toContain(`${target.path} has`);
        expect(error.neededBytes).toBeGreaterThanOrEqual(96 * MiB);
        expect(error.neededBytes).toBeLessThan(98 * MiB);
        expect(error.availableBytes).toBeLessThan(64 * MiB);
        expect(statfsSync(target.path).bavail).toBe(before);
        expect(readdirSync(target.path)).toEqual(['lost+found']);
        await pool.export('v', join(scratch, 'v.img'), { format });
      },
    );

    test('qemu-img that runs out of space all the same is told alike', async () => {
      const target = mountedFileSystem('ext4', 64 * MiB);
      cleanUp.push(() => target[Symbol.dispose]());
      const [source, file] = [sparseFile(96 * MiB), join(target.path, 'full.qcow2')];
      writePattern(source, 7, 0, 96 * MiB);
      using from = new Descriptor(openSync(source, 'r'));
      using to = new Descriptor(openSync(file, 'w+'));
      const write = writeQcow2(from.fd, to.fd, file, () => {}, undefined);
      expect((await refusal(() => write, 'no_space')).message).toContain(`not enough space for ${file}`);
      rmSync(source);
    });

    test('the host under a sparse pool keeps its reserve', async () => {
      const host = mountedFileSystem('ext4', 512 * MiB);
      cleanUp.push(() => host[Symbol.dispose]());
      const { pool } = await poolOf(4 * GiB, join(host.path, 'pool'));
      await pool.create('v', { bytes: GiB });
      writePattern(await pool.diskPath('v'), 8, 0, 128 * MiB);
      await pool.sync();
      const { bavail, bsize } = statfsSync(host.path);
      writeFileSync(join(host.path, 'ballast'), Buffer.alloc(bavail * bsize - 160 * MiB, 1));
      const error = await refusal(() => pool.export('v', join(host.path, 'v.raw')), 'no_space');
      expect(error.message).toContain('reserve');
      expect(error.neededBytes).toBe(192 * MiB);
      expect(readdirSync(host.path).sort()).toEqual(['ballast', 'lost+found', 'pool']);
    });
  });
});

function appendUntilFull(file: string, bytes: number): void {
  const descriptor = openSync(file, 'a');
  try {
    for (;;) {
      writeSync(descriptor, patternBytes(1, bytes));
      fsyncSync(descriptor);
    }
  } catch (error) {
    expect(String(error)).toContain('ENOSPC');
  } finally {
    closeSync(descriptor);
  }
}
