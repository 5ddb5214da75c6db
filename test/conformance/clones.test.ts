import { chmodSync, chownSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { digest, digestOf, patternBytes, writeAt, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { conformance, type Suite } from './suite.ts';

const MiB = 2 ** 20;

conformance('clones', (suite) => {
  test('from a template: equal at birth, independent ever after in both directions', async () => {
    const { pool } = suite;
    const { bytes, template } = await sealedTemplate(suite, 1);
    const [a, b] = [suite.name('a'), suite.name('b')];
    const clone = await pool.clone(template, a);
    await pool.clone(template, b);
    expect(clone).toMatchObject({ name: a, bytes: 2 * MiB });
    const [pathA, pathB] = [await pool.diskPath(a), await pool.diskPath(b)];
    expect([digest(pathA), digest(pathB)]).toEqual([digestOf(bytes, 2 * MiB), digestOf(bytes, 2 * MiB)]);
    writePattern(pathA, 99, 4096, 4096);
    expect(digest(pathB)).toBe(digestOf(bytes, 2 * MiB));
    expect(digest(await pool.diskPath(template))).toBe(digestOf(bytes, 2 * MiB));
    expect(digest(pathA)).not.toBe(digestOf(bytes, 2 * MiB));
  });

  test('from a live volume: both may be written, neither sees the other', async () => {
    const { pool } = suite;
    const source = await suite.volume(2 * MiB);
    const bytes = writePattern(source.path, 2, 0, MiB);
    const name = suite.name('clone');
    await pool.clone(source.name, name);
    const path = await pool.diskPath(name);
    writePattern(source.path, 3, 0, MiB);
    expect(digest(path)).toBe(digestOf(bytes, 2 * MiB));
    writePattern(path, 4, 0, MiB);
    expect(digest(source.path)).toBe(digestOf(patternBytes(3, MiB), 2 * MiB));
  });

  test('from a volume with dirty pages: what was written before the call is in it', async () => {
    const { pool } = suite;
    const source = await suite.volume(4 * MiB);
    using descriptor = new Descriptor(openSync(source.path, 'r+'));
    const bytes = patternBytes(5, 4 * MiB);
    writeSync(descriptor.fd, bytes); // not flushed
    const name = suite.name('clone');
    await pool.clone(source.name, name);
    expect(digest(await pool.diskPath(name))).toBe(digestOf(bytes));
  });

  test('from a snapshot: the state of the snapshot, also after the volume has changed and gone', async () => {
    const { pool } = suite;
    const source = await suite.volume(2 * MiB);
    const bytes = writePattern(source.path, 6, 0, MiB);
    await pool.snapshot(`${source.name}@s`);
    writePattern(source.path, 7, 0, MiB);
    const name = suite.name('clone');
    await pool.clone(`${source.name}@s`, name);
    expect((await pool.show(name)).origin).toMatchObject({ name: source.name, snapshot: 's' });
    await pool.remove(source.name, { withSnapshots: true });
    expect(digest(await pool.diskPath(name))).toBe(digestOf(bytes, 2 * MiB));
  });

  describe.each(['few', 'many'] as const)('of a source with %s extents', (extents) => {
    test('content, independence, a larger size and an unaligned one', async () => {
      const { pool } = suite;
      const source = await suite.volume(4 * MiB);
      const bytes =
        extents === 'few' ? writePattern(source.path, 8, 0, 4 * MiB) : fragment(source.path, 4 * MiB);
      const template = suite.name('t');
      const sealed = await pool.seal(source.name, template);
      // Where disks are no files, nobody counts extents, and none matter.
      if (suite.backend.traits.files === true) expect(sealed.extents > 100).toBe(extents === 'many');
      for (const from of [template, source.name]) {
        const name = suite.name('clone');
        const clone = await pool.clone(from, name, { bytes: 5 * MiB + 1 });
        expect(clone).toMatchObject({
          bytes: 5 * MiB + suite.backend.sizeUnit,
          roundedFrom: 5 * MiB + 1,
        });
        const path = await pool.diskPath(name);
        expect(digest(path)).toBe(digestOf(bytes, 5 * MiB + suite.backend.sizeUnit));
        writePattern(path, 9, 0, MiB);
        expect(digest(await pool.diskPath(from))).toBe(digestOf(bytes));
        expect((await pool.show(name)).problems).toEqual([]);
      }
    });
  });

  suite.needs('replicableClones')(
    'a replicable clone has the same content and says how it was made',
    async () => {
      const { bytes, template } = await sealedTemplate(suite, 10);
      const name = suite.name('clone');
      const clone = await suite.pool.clone(template, name, { replicable: true });
      expect((await suite.pool.show(name)).method).toBe(clone.method);
      expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(bytes, 2 * MiB));
      expect((await suite.pool.show(name)).problems).toEqual([]);
    },
  );

  test('smaller than the source is refused, and so is what is not there', async () => {
    const { template } = await sealedTemplate(suite, 11);
    const name = suite.name('clone');
    const error = await refusal(() => suite.pool.clone(template, name, { bytes: MiB }), 'invalid_argument');
    expect(error.message).toMatch(/can't be smaller/);
    await refusal(() => suite.pool.clone('never-made', name), 'not_found');
    await refusal(() => suite.pool.clone(`${template}@never`, name), 'not_found');
    await refusal(() => suite.pool.show(name), 'not_found');
  });

  test('a clone shares its blocks: it takes no space of its own', async () => {
    const { pool } = suite;
    const source = await suite.volume(32 * MiB);
    writePattern(source.path, 12, 0, 32 * MiB);
    const template = suite.name('t');
    await pool.seal(source.name, template);
    const before = (await pool.describe()).space.freeBytes;
    await pool.cloneMany(template, suite.name('clone'), 20);
    expect(before - (await pool.describe()).space.freeBytes).toBeLessThan(8 * MiB);
  });

  test('many at once: each whole; what failed is listed beside what was made', async () => {
    const { pool } = suite;
    const { bytes, template } = await sealedTemplate(suite, 13);
    const stem = suite.name('many');
    await pool.create(`${stem}-3`, { bytes: 4096 });
    const { cloned, failed } = await pool.cloneMany(template, stem, 5);
    expect(cloned.map((clone) => clone.name).sort()).toEqual([1, 2, 4, 5].map((n) => `${stem}-${n}`));
    expect(failed.map(({ name, error }) => [name, error.code])).toEqual([[`${stem}-3`, 'already_exists']]);
    for (const { name } of cloned) expect(digest(await pool.diskPath(name))).toBe(digestOf(bytes, 2 * MiB));
    for (const count of [0, -1, 1.5, Number.NaN, 1e6])
      await refusal(() => pool.cloneMany(template, stem, count), 'invalid_argument');
  });

  test('deferred durability gives the same clone; sync makes it durable', async () => {
    const { bytes, template } = await sealedTemplate(suite, 14);
    const name = suite.name('clone');
    await suite.pool.clone(template, name, { durability: 'deferred' });
    await suite.pool.sync();
    expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(bytes, 2 * MiB));
  });

  suite.needs('files')(
    'owner and mode of a disk that was given to a user stay, however the clone is made',
    async () => {
      const { pool } = suite;
      const source = await suite.volume();
      chmodSync(source.path, 0o640);
      chownSync(source.path, 12345, 54321);
      for (const replicable of suite.backend.capabilities['replicableClones'] === true
        ? [false, true]
        : [false]) {
        const name = suite.name('clone');
        await pool.clone(source.name, name, { replicable });
        const { mode, uid, gid } = statSync(await pool.diskPath(name));
        expect([mode & 0o7777, uid, gid]).toEqual([0o640, 12345, 54321]);
      }
    },
  );

  describe('templates', () => {
    test('are immutable: neither written through a path, nor grown, snapshotted or rolled back', async () => {
      const { pool } = suite;
      const { bytes, template } = await sealedTemplate(suite, 15);
      const path = await pool.diskPath(template);
      expect(() => writeAt(path, Buffer.from('x'), 0)).toThrow(/EROFS|EPERM/);
      for (const attempt of [
        () => pool.grow(template, { bytes: 8 * MiB }),
        () => pool.snapshot(`${template}@s`),
      ]) {
        const error = await refusal(attempt, 'blocked');
        expect(error.blockers.map((blocker) => blocker.kind)).toEqual(['sealed']);
      }
      await refusal(() => pool.rollback(`${template}@s`), 'blocked');
      expect(digest(path)).toBe(digestOf(bytes, 2 * MiB));
    });

    test('are immutable also for a descriptor that was opened before they were sealed', async () => {
      const { pool } = suite;
      const source = await suite.volume();
      const bytes = writePattern(source.path, 16, 0, MiB);
      using before = new Descriptor(openSync(source.path, 'r+'));
      const template = suite.name('t');
      await pool.seal(source.name, template);
      writeSync(before.fd, patternBytes(17, MiB), 0, MiB, 0);
      expect(digest(source.path)).toBe(digestOf(patternBytes(17, MiB)));
      expect(digest(await pool.diskPath(template))).toBe(digestOf(bytes));
      expect((await pool.show(template)).problems).toEqual([]);
    });

    test('can be sealed from a snapshot, and from a template', async () => {
      const { pool } = suite;
      const source = await suite.volume();
      const bytes = writePattern(source.path, 18, 0, MiB);
      await pool.snapshot(`${source.name}@s`);
      writePattern(source.path, 19, 0, MiB);
      const [first, second] = [suite.name('t'), suite.name('t')];
      await pool.seal(`${source.name}@s`, first);
      await pool.seal(first, second);
      for (const name of [first, second]) {
        expect(await pool.show(name)).toMatchObject({ type: 'template', problems: [], bytes: MiB });
        expect(digest(await pool.diskPath(name))).toBe(digestOf(bytes));
      }
    });

    test('can be renamed and then cloned', async () => {
      const { bytes, template } = await sealedTemplate(suite, 20);
      const to = suite.name('t');
      await suite.pool.rename(template, to);
      const name = suite.name('clone');
      await suite.pool.clone(to, name);
      expect(digest(await suite.pool.diskPath(name))).toBe(digestOf(bytes, 2 * MiB));
    });

    test('can be deleted while clones live; space returns when the last goes, whatever the order', async () => {
      const { pool } = suite;
      const free = async (): Promise<number> => {
        await pool.usage([], { exact: true });
        return (await pool.describe()).space.freeBytes;
      };
      const source = await suite.volume(32 * MiB);
      const empty = await free();
      const bytes = writePattern(source.path, 21, 0, 32 * MiB);
      const template = suite.name('t');
      await pool.seal(source.name, template);
      const [a, b, c] = [suite.name(), suite.name(), suite.name()];
      for (const name of [a, b, c]) await pool.clone(template, name);
      for (const name of [b, template, source.name, a]) {
        await pool.remove(name);
        expect(empty - (await free())).toBeGreaterThan(31 * MiB);
      }
      expect(digest(await pool.diskPath(c))).toBe(digestOf(bytes));
      await pool.remove(c);
      expect(empty - (await free())).toBeLessThan(4 * MiB);
    });
  });
});

/** A template of 2 MiB: a pattern in the first half, a hole behind. */
async function sealedTemplate(suite: Suite, seed: number): Promise<{ bytes: Buffer; template: string }> {
  const source = await suite.volume(2 * MiB);
  const bytes = writePattern(source.path, seed, 0, MiB);
  const template = suite.name('t');
  await suite.pool.seal(source.name, template);
  await suite.pool.remove(source.name);
  return { bytes, template };
}

/** Writes a disk so that no two neighbouring blocks lie beside each other: every other block first. */
function fragment(path: string, length: number): Buffer {
  const bytes = patternBytes(77, length);
  using disk = new Descriptor(openSync(path, 'r+'));
  for (const parity of [0, 4096]) {
    for (let at = parity; at < length; at += 8192) writeSync(disk.fd, bytes, at, 4096, at);
    fsyncSync(disk.fd);
  }
  return bytes;
}
