import { existsSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { digest, digestOf, diskBytes, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance('volumes', (suite) => {
  test('a pool says what its backend can do, as the table of the suite does', async () => {
    const description = await suite.pool.describe();
    expect(description.driver).toBe(suite.backend.name);
    expect(description.capabilities).toEqual(suite.backend.capabilities);
  });

  test('create, list, show, path: a new volume is zeros of its size and takes no space', async () => {
    const { pool } = suite;
    const name = suite.name();
    const created = await pool.create(name, { bytes: 3 * MiB });
    expect(created).toEqual({
      name,
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      bytes: 3 * MiB,
      created: expect.any(String),
    });
    const path = await pool.diskPath(name);
    expect(digest(path)).toBe(digestOf(Buffer.alloc(0), 3 * MiB));
    if (suite.backend.traits.files === true) {
      expect(statSync(path).blocks).toBe(0);
      expect(statSync(path).isFile()).toBe(true);
    }
    const summary = (await pool.list()).find((volume) => volume.name === name);
    expect(summary).toEqual({
      name,
      type: 'volume',
      bytes: 3 * MiB,
      id: created.id,
      created: expect.stringMatching(/^\d{4}-.*Z$/),
      snapshots: 0,
    });
    expect(await pool.show(name)).toMatchObject({ ...summary, path, ancestors: [], problems: [] });
  });

  const unit = suite.backend.sizeUnit;
  test.each([
    [0, unit],
    [1, unit],
    [unit - 1, unit],
    [unit, unit],
    [unit + 1, 2 * unit],
    [MiB + 1, MiB + unit],
  ])('a size of %i bytes becomes %i, and that is said', async (asked, given) => {
    const name = suite.name();
    const created = await suite.pool.create(name, { bytes: asked });
    expect(created.bytes).toBe(given);
    expect(created.roundedFrom).toBe(asked === given ? undefined : asked);
    expect(diskBytes(await suite.pool.diskPath(name))).toBe(given);
    const grown = await suite.pool.grow(name, { bytes: given + asked });
    expect(grown.bytes).toBe(Math.ceil((given + asked) / unit) * unit);
    expect(grown.roundedFrom).toBe(grown.bytes === given + asked ? undefined : given + asked);
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 53 - 1])(
    'a size of %d is refused',
    async (bytes) => {
      const { name } = await suite.volume();
      await refusal(() => suite.pool.create(suite.name(), { bytes }), 'invalid_argument');
      await refusal(() => suite.pool.grow(name, { bytes }), 'invalid_argument');
      await refusal(() => suite.pool.clone(name, suite.name(), { bytes }), 'invalid_argument');
    },
  );

  test('a disk without a size is refused', async () => {
    const error = await refusal(() => suite.pool.create(suite.name(), {}), 'invalid_argument');
    expect(error.message).toContain('how large the disk is to be');
  });

  test('a disk of 1 TiB is made at once and is really that large', async () => {
    const { name, path } = await suite.volume(2 ** 40);
    writePattern(path, 1, 2 ** 40 - 4096, 4096);
    expect((await suite.pool.show(name)).bytes).toBe(2 ** 40);
    await suite.pool.remove(name);
  });

  test('rename keeps the content, the snapshots and the identity; the old name is free', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    writePattern(path, 2, 0, MiB);
    await pool.snapshot(`${name}@s`);
    const before = await pool.show(name);
    const to = suite.name('renamed');
    expect(await pool.rename(name, to)).toEqual({ from: name, name: to });
    await refusal(() => pool.show(name), 'not_found');
    const after = await pool.show(to);
    expect(after).toMatchObject({ id: before.id, created: before.created, snapshots: 1, problems: [] });
    const now = after.path ?? '';
    expect(digest(now)).toBe(digestOf(writePattern(now, 2, 0, MiB)));
    await pool.create(name, { bytes: 4096 });
    expect((await pool.show(name)).id).not.toBe(before.id);
  });

  test('rename of what somebody has open: he keeps it', async () => {
    const { name, path } = await suite.volume();
    await using _holder = await holdOpen(path);
    const to = suite.name('renamed');
    await suite.pool.rename(name, to);
    expect((await suite.pool.show(to)).problems).toEqual([]);
  });

  test('rename to itself, to a taken name and of nothing are refused', async () => {
    const [a, b] = [await suite.volume(), await suite.volume()];
    await refusal(() => suite.pool.rename(a.name, b.name), 'already_exists');
    await refusal(() => suite.pool.rename(a.name, a.name), 'already_exists');
    await refusal(() => suite.pool.rename('never-made', suite.name()), 'not_found');
    expect((await suite.pool.show(b.name)).problems).toEqual([]);
  });

  test('grow keeps the content, says whether the disk is in use, and is never a shrink', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    const bytes = writePattern(path, 3, 0, MiB);
    expect(await pool.grow(name, { bytes: 2 * MiB })).toEqual({
      name,
      bytes: 2 * MiB,
      previousBytes: MiB,
      inUse: false,
      loopDevices: [],
    });
    expect(digest(path)).toBe(digestOf(bytes, 2 * MiB));
    {
      await using _holder = await holdOpen(path);
      expect(await pool.grow(name, { bytes: 3 * MiB })).toMatchObject({ bytes: 3 * MiB, inUse: true });
    }
    expect(await pool.grow(name, { bytes: 3 * MiB })).toMatchObject({ previousBytes: 3 * MiB });
    const error = await refusal(() => pool.grow(name, { bytes: 3 * MiB - unit }), 'invalid_argument');
    expect(error.message).toMatch(/never made smaller/);
    expect(digest(path)).toBe(digestOf(bytes, 3 * MiB));
  });

  test('remove is gone at once for the user; an open descriptor still reads until it is closed', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    const bytes = writePattern(path, 4, 0, 4096);
    {
      using open = new Descriptor(openSync(path, 'r'));
      await pool.remove(name, { force: true });
      await refusal(() => pool.show(name), 'not_found');
      // The name of a block device is taken away by udev, a moment later.
      await expect.poll(() => existsSync(path), { timeout: 20_000 }).toBe(false);
      const read = Buffer.alloc(4096);
      readSync(open.fd, read, 0, 4096, 0);
      expect(read.equals(bytes)).toBe(true);
    }
    await pool.create(name, { bytes: unit });
    expect(digest(await pool.diskPath(name))).toBe(digestOf(Buffer.alloc(0), unit));
  });

  test('remove of what is not there is refused, or fine when that was said', async () => {
    const { name } = await suite.volume();
    await refusal(() => suite.pool.remove('never-made'), 'not_found');
    await refusal(() => suite.pool.remove(`${name}@never-made`), 'not_found');
    expect(await suite.pool.remove(['never-made', `${name}@never-made`], { ifExists: true })).toEqual({
      removed: [],
      snapshots: [],
    });
    expect(await suite.pool.remove([])).toEqual({ removed: [], snapshots: [] });
  });

  test('remove of several: if one can not go, none goes', async () => {
    const [a, b] = [await suite.volume(), await suite.volume()];
    await suite.pool.snapshot(`${b.name}@s`);
    const error = await refusal(() => suite.pool.remove([a.name, b.name]), 'blocked');
    expect(error.blockers).toEqual([
      {
        kind: 'snapshots',
        what: `${b.name} has the snapshot s`,
        remedy: expect.stringContaining('--with-snapshots'),
      },
    ]);
    await refusal(() => suite.pool.remove([a.name, 'never-made']), 'not_found');
    expect((await suite.pool.show(a.name)).problems).toEqual([]);
    expect(await suite.pool.remove([a.name, `${b.name}@s`, b.name, a.name])).toEqual({
      removed: [a.name, b.name],
      snapshots: [`${b.name}@s`],
    });
  });

  test('remove says in a dry run what it would do, and does nothing', async () => {
    const { name, path } = await suite.volume();
    await suite.pool.snapshot(`${name}@s`);
    await using holder = await holdOpen(path);
    const result = await suite.pool.remove(name, { dryRun: true });
    expect(result).toMatchObject({ removed: [name], snapshots: [`${name}@s`] });
    expect(result.blockers?.map((blocker) => blocker.kind).sort()).toEqual(['open', 'snapshots']);
    expect(result.blockers?.find((blocker) => blocker.kind === 'open')?.what).toContain(String(holder.pid));
    expect((await suite.pool.show(name)).snapshots).toBe(1);
  });

  test('remove of an open disk is refused and names who has it, unless forced', async () => {
    const { name, path } = await suite.volume();
    await using holder = await holdOpen(path, 'read');
    const error = await refusal(() => suite.pool.remove(name), 'blocked');
    expect(error.blockers).toEqual([
      {
        kind: 'open',
        what: expect.stringContaining(`${path} is open in process ${holder.pid} (sh -c`),
        remedy: expect.stringContaining('--force'),
      },
    ]);
    await suite.pool.remove(name, { force: true });
  });

  test('space comes back after a remove', async () => {
    const { pool } = suite;
    const free = async (): Promise<number> => {
      await pool.usage([], { exact: true }); // waits until deleted data is freed
      return (await pool.describe()).space.freeBytes;
    };
    const { name, path } = await suite.volume(64 * MiB);
    const before = await free();
    writePattern(path, 5, 0, 64 * MiB);
    await pool.snapshot(`${name}@s`);
    const full = await free();
    expect(before - full).toBeGreaterThan(60 * MiB);
    await pool.remove(name, { withSnapshots: true });
    expect((await free()) - full).toBeGreaterThan(60 * MiB);
  });

  test('what somebody did behind its back is noticed and reported, never punished', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    writePattern(path, 6, 0, 4096); // works with normal tools: no problem
    expect((await pool.show(name)).problems).toEqual([]);
    expect((await pool.check()).filter((finding) => finding.subject === name)).toEqual([]);
  });

  suite.needs('treeVolumes')('a directory tree as a volume', async () => {
    const { pool } = suite;
    const name = suite.name('tree');
    expect(await pool.create(name, { kind: 'tree' })).toEqual({
      name,
      id: expect.any(String),
      bytes: 0,
      created: expect.any(String),
    });
    const path = await pool.diskPath(name);
    expect(await pool.show(name)).toMatchObject({ type: 'volume', kind: 'tree', path, problems: [] });
    writeFileSync(join(path, 'file'), 'first');
    expect((await pool.list()).find((each) => each.name === name)?.kind).toBe('tree');

    await refusal(() => pool.grow(name, { bytes: MiB }), 'unsupported');
    await refusal(() => pool.export(name, join(suite.scratch, 'tree.raw')), 'unsupported');
    await refusal(() => pool.clone(name, suite.name(), { bytes: MiB }), 'unsupported');
    await refusal(() => pool.create(suite.name(), { kind: 'tree', bytes: MiB }), 'invalid_argument');
    await refusal(
      () => pool.create(suite.name(), { kind: 'file' as 'tree', bytes: MiB }),
      'invalid_argument',
    );

    const [clone, template, second] = [suite.name('clone'), suite.name('template'), suite.name('second')];
    await pool.clone(name, clone);
    await pool.seal(name, template);
    writeFileSync(join(path, 'file'), 'changed');
    await pool.clone(template, second);
    for (const copy of [clone, template, second]) {
      const directory = await pool.diskPath(copy);
      expect(readFileSync(join(directory, 'file'), 'utf8'), copy).toBe('first');
      expect(await pool.show(copy)).toMatchObject({ kind: 'tree', problems: [] });
    }
    const inTemplate = join(await pool.diskPath(template), 'file');
    expect(() => writeFileSync(inTemplate, 'no')).toThrow('EROFS');
    expect((await pool.usage([name], { exact: true })).usages[0]?.logicalBytes).toBeGreaterThan(0);

    const to = suite.name('renamed');
    await pool.rename(name, to);
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(join(await pool.diskPath(to), 'file'), 'utf8')).toBe('changed');

    {
      await using user = await holdOpen(join(await pool.diskPath(to), 'file'));
      const { blockers } = await refusal(() => pool.remove(to), 'blocked');
      expect(blockers[0]?.what).toContain(`process ${user.pid}`);
      if (suite.backend.traits.removesOpenSnapshots !== true) {
        await refusal(() => pool.remove(to, { force: true }), 'blocked');
        await refusal(() => pool.rename(to, suite.name()), 'blocked');
      }
      expect(readFileSync(join(await pool.diskPath(to), 'file'), 'utf8')).toBe('changed');
    }
    await pool.remove([to, template]);
    expect(readFileSync(join(await pool.diskPath(second), 'file'), 'utf8')).toBe('first');
    await pool.remove([clone, second]);
  });
});
