import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { describeLoss, destroyPool, growPool, openPool, type Pool, persistPool } from '../../src/index.ts';
import { writeAttribute } from '../../src/linux/attributes.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import {
  loopDevice,
  mountedFileSystem,
  reservedLoopDevice,
  scratchDirectory,
  sparseFile,
} from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { fileSystems } from './backends.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

const opened: Pool[] = [];
const places: string[] = [];

/** A place for a pool that is unmounted after the case, whatever became of it. */
function place(directory: string = scratchDirectory('place')): {
  path: string;
  file: string;
  directory: string;
} {
  const path = join(directory, 'mnt');
  places.push(path);
  return { path, file: join(directory, 'pool.img'), directory };
}

async function open(path: string): Promise<Pool> {
  const pool = await openPool(path, { inline: true });
  opened.push(pool);
  return pool;
}

async function closeAll(): Promise<void> {
  for (const pool of opened.splice(0)) await pool.close();
}

afterEach(async () => {
  await closeAll();
  for (const path of places.splice(0)) {
    for (const mount of readMounts().reverse())
      if (mount.mountPoint === path) runProgram('umount', ['--', mount.mountPoint]);
  }
});

describe.each(fileSystems)('pools on $name', (backend) => {
  const { createPool } = backend;

  describe('made', () => {
    test('on a loop file: sparse, mounted, described; again does nothing', async () => {
      const { path, file } = place();
      const made = createPool({ path, file, bytes: 4 * GiB });
      expect(made.steps).toHaveLength(3);
      expect(made).toMatchObject({ path, backing: { type: 'loop', file, preallocated: false } });
      expect(statSync(file).size).toBe(4 * GiB);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(statSync(file).blocks * 512).toBeLessThan(128 * MiB);
      expect(createPool({ path, file, bytes: 4 * GiB })).toEqual({ ...made, steps: [] });
      expect(createPool({ path })).toEqual({ ...made, steps: [] });
      expect(createPool({ path, bytes: 2 * GiB })).toEqual({ ...made, steps: [] });
      const larger = await refusal(() => createPool({ path, bytes: 8 * GiB }), 'already_exists');
      expect(larger.message).toContain(`"coppice pool grow SIZE --pool ${path}"`);
      const pool = await open(path);
      const description = await pool.describe();
      expect(description).toMatchObject({
        path,
        id: made.id,
        backing: made.backing,
        volumes: 0,
        templates: 0,
      });
      expect(description.mountOptions).toEqual(expect.arrayContaining(['rw', 'nodev', 'nosuid', 'noatime']));
      expect(description.device).toMatch(/^\/dev\/loop\d+$/);
      expect(await pool.check()).toEqual([]);
    });

    test('on a device, and what is on one is never overwritten unasked', async () => {
      const { path, directory } = place();
      using loop = loopDevice(sparseFile(4 * GiB, join(directory, 'disk')));
      const { device } = loop;
      runProgram('mkfs.ext4', ['-q', '-L', 'precious', device]);
      const error = await refusal(() => createPool({ path, device }), 'already_exists');
      expect(error.message).toContain('ext4');
      expect(error.message).toContain('precious');
      expect(existsSync(path)).toBe(false);
      const made = createPool({ path, device, force: true });
      expect(made.backing).toEqual({ type: 'device', device });
      expect(createPool({ path, device }).steps).toEqual([]);
      await (await open(path)).create('v', { bytes: MiB });
      await refusal(() => growPool(path, 8 * GiB), 'unsupported');
      await closeAll();
      expect(destroyPool(path, { fstab: join(directory, 'fstab'), unitDirectory: directory })).toMatchObject({
        volumes: ['v'],
        backing: device,
      });
      expect(runProgram('wipefs', ['--noheadings', '--', device])).toBe('');
    });

    test('on a device whose name means another disk by now: only the mounted one is wiped', async () => {
      const { path, directory } = place();
      const disk = sparseFile(1 * GiB, join(directory, 'disk'));
      const stranger = sparseFile(1 * GiB, join(directory, 'stranger'));
      using first = reservedLoopDevice();
      runProgram('losetup', ['--', first.device, disk]);
      createPool({ path, device: first.device });
      runProgram('umount', ['--', path]);
      using moved = loopDevice(disk);
      runProgram('losetup', ['--detach', first.device]);
      runProgram('mkfs.ext4', ['-q', stranger]);
      runProgram('losetup', ['--', first.device, stranger]);
      try {
        runProgram('mount', ['--', moved.device, path]);
        destroyPool(path, { fstab: join(directory, 'fstab'), unitDirectory: directory });
        expect(runProgram('wipefs', ['--noheadings', '--', first.device])).toContain('ext4');
        expect(runProgram('wipefs', ['--noheadings', '--', moved.device])).toBe('');
      } finally {
        runProgram('losetup', ['--detach', first.device]);
      }
    });

    test('on a device that is mounted: refused', async () => {
      const { path } = place();
      using mounted = mountedFileSystem('ext4', 64 * MiB);
      const device = readMounts().find((mount) => mount.mountPoint === mounted.path)?.source ?? '';
      await refusal(() => createPool({ path, device, force: true }), 'blocked');
      await refusal(() => createPool({ path, device: '/dev/no-such-device' }), 'not_found');
      await refusal(() => createPool({ path, device: mounted.file }), 'invalid_argument');
    });

    test('in an existing directory, beside what is there, which is never touched', async () => {
      using host = mountedFileSystem(backend.name, 4 * GiB);
      writeFileSync(join(host.path, 'mine.txt'), 'mine');
      const made = createPool({ path: host.path, existing: true });
      expect(made.backing).toEqual({ type: 'existing' });
      expect(createPool({ path: host.path, existing: true }).steps).toEqual([]);
      const pool = await open(host.path);
      await pool.create('v', { bytes: MiB });
      expect((await pool.check()).map((finding) => finding.subject)).toEqual([join(host.path, 'mine.txt')]);
      await closeAll();
      await refusal(() => growPool(host.path, 8 * GiB), 'unsupported');
      await refusal(
        () => persistPool(host.path, { fstab: join(scratchDirectory(), 'fstab') }),
        'unsupported',
      );
      destroyPool(host.path, { fstab: '/dev/null', unitDirectory: scratchDirectory() });
      expect(readdirSync(host.path)).toEqual(['mine.txt']);
      await refusal(() => openPool(host.path, { inline: true }), 'not_a_pool');
      expect(createPool({ path: host.path, existing: true }).id).not.toBe(made.id);
    });

    test('in an existing directory that is not fit for it: refused, and left as it was', async () => {
      using host = mountedFileSystem(backend.name, GiB);
      using ext4 = mountedFileSystem('ext4', 64 * MiB);
      mkdirSync(join(host.path, 'volumes'));
      writeFileSync(join(host.path, 'volumes', 'theirs'), '');
      await refusal(() => createPool({ path: host.path, existing: true }), 'already_exists');
      expect(readdirSync(host.path)).toEqual(['volumes']);
      await refusal(() => createPool({ path: ext4.path, existing: true }), 'unsupported');
      await refusal(() => createPool({ path: join(host.path, 'nothing'), existing: true }), 'not_found');
    });

    test('with bad options: refused, and nothing is left behind', async () => {
      const { path, file, directory } = place();
      const attempts: ReadonlyArray<Parameters<typeof createPool>[0]> = [
        { path, file, device: '/dev/loop0' },
        { path, file, existing: true },
        { path, existing: true, preallocate: true },
        { path, file, bytes: 1 },
        { path, file, bytes: 255 * MiB },
        { path, file, bytes: Number.NaN },
        { path, file, bytes: -1 },
        { path, file, bytes: 2 ** 53 },
      ];
      for (const options of attempts) {
        await refusal(() => createPool(options), 'invalid_argument');
        expect(readdirSync(directory), JSON.stringify(options)).toEqual([]);
      }
      const error = await refusal(
        () => createPool({ path, file, bytes: 2 ** 50, preallocate: true }),
        'no_space',
      );
      expect(error.neededBytes).toBe(2 ** 50);
      expect(readdirSync(directory)).toEqual([]);
    });

    test('over something else: refused', async () => {
      const { path, file, directory } = place();
      mkdirSync(path);
      writeFileSync(join(path, 'precious'), 'x');
      await refusal(() => createPool({ path, file, bytes: GiB }), 'already_exists');
      writeFileSync(join(directory, 'a-file'), 'x');
      await refusal(
        () => createPool({ path: join(directory, 'a-file'), file, bytes: GiB }),
        'invalid_argument',
      );
      unlinkSync(join(path, 'precious'));
      writeFileSync(file, 'a file that is no pool');
      await refusal(() => createPool({ path, file, bytes: GiB }), 'already_exists');
      expect(readFileSync(file, 'utf8')).toBe('a file that is no pool');
      unlinkSync(file);
      symlinkSync('/etc/passwd', file);
      await refusal(() => createPool({ path, file, bytes: GiB }));
      using ext4 = mountedFileSystem('ext4', 64 * MiB);
      await refusal(() => createPool({ path: ext4.path, file: `${file}.2`, bytes: GiB }), 'already_exists');
      const first = place();
      createPool({ path: first.path, file: first.file, bytes: GiB });
      await refusal(() => createPool({ path: first.path, file: `${file}.3`, bytes: GiB }), 'already_exists');
      await refusal(() => createPool({ path: first.path, existing: true }), 'already_exists');
      await refusal(() => createPool({ path, file: first.file }), 'already_exists');
    });

    test('by four processes at once: one pool', async () => {
      const { path, file, directory } = place();
      const module = new URL('../../src/index.ts', import.meta.url).href;
      const script = `
        const { createPool } = await import(${JSON.stringify(module)});
        console.log(JSON.stringify(createPool(${JSON.stringify({ driver: backend.name, path, file, bytes: GiB })})));
      `;
      const made = await Promise.all([1, 2, 3, 4].map(() => output(runScript(script))));
      const results = made.map((text) => JSON.parse(text) as ReturnType<typeof createPool>);
      expect(new Set(results.map((result) => result.id)).size).toBe(1);
      const steps = results.flatMap((result) => result.steps).sort();
      expect(steps.map((step) => step.split(' ')[0])).toEqual(['made', 'made', 'mounted']);
      expect(readMounts().filter((mount) => mount.mountPoint === path)).toHaveLength(1);
      expect(readdirSync(directory).sort()).toEqual(['mnt', 'pool.img']);
      await (await open(path)).create('v', { bytes: MiB });
    });

    test.each(['with space', 'back\\slash', '%n-percent', 'ünï"quote\'s', '-dash', '#hash'])(
      'under a path like %j, also after a remount by fstab',
      async (label) => {
        const directory = join(scratchDirectory(), label);
        mkdirSync(directory);
        const { path, file } = place(directory);
        createPool({ path, file, bytes: GiB });
        await (await open(path)).create('v', { bytes: MiB });
        await closeAll();
        const fstab = join(scratchDirectory(), 'fstab');
        persistPool(path, { fstab });
        runProgram('umount', ['--', path]);
        runProgram('mount', ['--fstab', fstab, '--all']);
        expect((await (await open(path)).list()).map((volume) => volume.name)).toEqual(['v']);
      },
    );
  });

  describe('opened', () => {
    test('a directory that is not the pool, because that is not mounted: refused, and nothing is written', async () => {
      const { path, file } = place();
      createPool({ path, file, bytes: GiB });
      runProgram('umount', ['--', path]);
      const error = await refusal(() => openPool(path), 'not_a_pool');
      expect(error.message).toContain('not mounted');
      expect(readdirSync(path)).toEqual([]);
      await refusal(() => growPool(path, 2 * GiB), 'not_a_pool');
      await refusal(() => destroyPool(path, {}), 'not_a_pool');
      await refusal(() => persistPool(path, {}), 'not_a_pool');
      expect(createPool({ path, file }).steps).toEqual([`mounted ${file} on ${path}`]);
    });

    test('what is no directory: refused', async () => {
      const { directory } = place();
      await refusal(() => openPool(join(directory, 'never')), 'not_a_pool');
      writeFileSync(join(directory, 'file'), '');
      await refusal(() => openPool(join(directory, 'file')), 'not_a_pool');
      await refusal(() => openPool(join(directory, 'file', 'below')), 'not_a_pool');
      await refusal(() => openPool(join(directory, 'nul\0byte')));
    });

    test('a copy of its directory on another file system: refused, also to adopt', async () => {
      const { path, file } = place();
      createPool({ path, file, bytes: GiB });
      await (await open(path)).create('v', { bytes: MiB });
      await closeAll();
      using other = mountedFileSystem(backend.name, GiB);
      runProgram('cp', ['--archive', '--', path, join(other.path, 'copy')]);
      const error = await refusal(() => openPool(join(other.path, 'copy')), 'not_a_pool');
      expect(error.message).toContain('copy');
      await refusal(() => createPool({ path: join(other.path, 'copy'), existing: true }));
    });

    test.each([
      ['that is like ours', {}],
      ['with things that we do not know', { backing: { type: 'tape' }, id: 7 }],
    ])('a pool of a newer format %s: refused, and never made anew', async (_, changes) => {
      const { path, file } = place();
      const made = createPool({ path, file, bytes: GiB });
      const metadata = {
        type: 'pool',
        format: 2,
        id: made.id,
        created: '',
        filesystem: '',
        backing: made.backing,
      };
      writeMarker(path, JSON.stringify({ ...metadata, ...changes }));
      const error = await refusal(() => openPool(path), 'unsupported');
      expect(error.message).toMatch(/format 2.*newer/);
      await refusal(() => createPool({ path, file, bytes: GiB }), 'unsupported');
      await refusal(() => destroyPool(path, {}), 'unsupported');
    });

    test('mounted read-only: it can be read; a change is refused', async () => {
      const { path, file } = place();
      createPool({ path, file, bytes: GiB });
      const pool = await open(path);
      await pool.create('v', { bytes: MiB });
      await closeAll();
      runProgram('mount', ['-o', 'remount,ro', '--', path]);
      const again = await open(path);
      expect((await again.list()).map((volume) => volume.name)).toEqual(['v']);
      expect((await again.usage(['v'], { exact: true })).usages).toHaveLength(1);
      await refusal(() => again.create('w', { bytes: MiB }));
      await refusal(() => again.remove('v'));
      expect((await again.check()).map((finding) => finding.severity)).toContain('error');
    });
  });

  describe('grown', () => {
    test('online, to within 5 % of the size; content stays; shrink is refused; it works after a remount', async () => {
      const { path, file, directory } = place();
      createPool({ path, file, bytes: GiB });
      const pool = await open(path);
      await pool.create('v', { bytes: 64 * MiB });
      writePattern(await pool.diskPath('v'), 1, 0, 64 * MiB);
      expect(growPool(path, 3 * GiB)).toEqual({
        path,
        bytes: 3 * GiB,
        previousBytes: GiB,
        overcommitted: false,
      });
      const { totalBytes } = (await pool.describe()).space;
      expect(totalBytes).toBeGreaterThan(0.95 * 3 * GiB);
      expect(totalBytes).toBeLessThanOrEqual(3 * GiB);
      const error = await refusal(() => growPool(path, 2 * GiB), 'invalid_argument');
      expect(error.message).toContain('never made smaller');
      expect(growPool(path, 3 * GiB)).toMatchObject({ bytes: 3 * GiB, previousBytes: 3 * GiB });
      for (const bad of [-1, Number.NaN, 2 ** 53])
        await refusal(() => growPool(path, bad), 'invalid_argument');
      expect(growPool(path, 2 ** 43).overcommitted).toBe(true);
      await closeAll();
      const fstab = join(directory, 'fstab');
      persistPool(path, { fstab });
      runProgram('umount', ['--', path]);
      runProgram('mount', ['--fstab', fstab, '--', path]);
      const again = await open(path);
      expect((await again.describe()).space.totalBytes).toBeGreaterThan(0.95 * 2 ** 43);
      expect(digest(await again.diskPath('v'))).toBe(digestOf(patternBytes(1, 64 * MiB)));
    });

    test('a preallocated pool has all of its blocks, also when it is used, grown and mounted again', async () => {
      const { path, file, directory } = place();
      const allocated = (): number => statSync(file).blocks * 512;
      createPool({ path, file, bytes: GiB, preallocate: true });
      expect(allocated()).toBeGreaterThanOrEqual(GiB);
      const pool = await open(path);
      await pool.create('v', { bytes: 128 * MiB });
      writePattern(await pool.diskPath('v'), 2, 0, 128 * MiB);
      await pool.remove('v');
      await pool.usage([], { exact: true });
      expect(growPool(path, GiB + 256 * MiB).overcommitted).toBe(false);
      expect(allocated()).toBeGreaterThanOrEqual(GiB + 256 * MiB);
      await refusal(() => growPool(path, 2 ** 50), 'no_space');
      await closeAll();
      persistPool(path, { fstab: join(directory, 'fstab') });
      runProgram('umount', ['--', path]);
      runProgram('mount', ['--fstab', join(directory, 'fstab'), '--', path]);
      const again = await open(path);
      await again.create('v', { bytes: 128 * MiB });
      writePattern(await again.diskPath('v'), 3, 0, 128 * MiB);
      await again.remove('v');
      await again.usage([], { exact: true });
      expect(allocated()).toBeGreaterThanOrEqual(GiB + 256 * MiB);
    });

    test('a sparse pool gives what is freed back to the host', async () => {
      const { path, file } = place();
      createPool({ path, file, bytes: GiB });
      const pool = await open(path);
      await pool.create('v', { bytes: 128 * MiB });
      writePattern(await pool.diskPath('v'), 4, 0, 128 * MiB);
      runProgram('sync', ['--file-system', path]);
      expect(statSync(file).blocks * 512).toBeGreaterThan(128 * MiB);
      await pool.remove('v');
      await pool.usage([], { exact: true });
      // The kernel does so in the background, and tells nobody when it is done.
      for (let tries = 0; tries < 500 && statSync(file).blocks * 512 >= 100 * MiB; tries++)
        await new Promise((resolve) => setTimeout(resolve, 20));
      expect(statSync(file).blocks * 512).toBeLessThan(100 * MiB);
    });
  });

  describe('persisted', () => {
    test('in fstab: one line, everything else stays to the byte, twice changes nothing, destroy takes it out', async () => {
      const { path, file, directory } = place();
      createPool({ path, file, bytes: GiB });
      const fstab = join(directory, 'fstab');
      const others = `# a comment\nUUID=1 / ext4\terrors=remount-ro 0 1\n/x ${path}2 btrfs defaults 0 0\n`;
      writeFileSync(fstab, others, { mode: 0o640 });
      const dry = persistPool(path, { fstab, dryRun: true });
      expect(readFileSync(fstab, 'utf8')).toBe(others);
      const persisted = persistPool(path, { fstab });
      expect(dry).toEqual(persisted);
      expect(persisted).toMatchObject({
        file: fstab,
        changed: true,
        requiresMountsFor: `RequiresMountsFor=${path}`,
      });
      expect(persisted.text).toMatch(
        / (btrfs loop,noatime,nodev,nosuid|xfs loop,noatime,nodev,nosuid,discard),nofail,x-systemd\.requires-mounts-for=\S+ 0 0$/,
      );
      expect(readFileSync(fstab, 'utf8')).toBe(`${others}${persisted.text}\n`);
      expect(statSync(fstab).mode & 0o777).toBe(0o640);
      expect(persistPool(path, { fstab }).changed).toBe(false);
      expect(readdirSync(directory).sort()).toEqual(['fstab', 'mnt', 'pool.img']);
      destroyPool(path, { fstab, unitDirectory: directory });
      expect(readFileSync(fstab, 'utf8')).toBe(others);
    });

    test('in an fstab that has no end of line, and in one that is not there', async () => {
      const { path, file, directory } = place();
      createPool({ path, file, bytes: GiB });
      const fstab = join(directory, 'fstab');
      const { text } = persistPool(path, { fstab });
      expect(readFileSync(fstab, 'utf8')).toBe(`${text}\n`);
      writeFileSync(fstab, '/a /b ext4 defaults 0 0');
      persistPool(path, { fstab });
      expect(readFileSync(fstab, 'utf8')).toBe(`/a /b ext4 defaults 0 0\n${text}\n`);
      await refusal(() => persistPool(path, { fstab: join(directory, 'no', 'such', 'fstab') }));
    });

    test('as a systemd unit, named as systemd wants it; destroy takes it out', async () => {
      const { path, file, directory } = place();
      const odd = join(path, '..', 'my pool-1');
      createPool({ path: odd, file, bytes: GiB });
      const units = join(directory, 'units');
      mkdirSync(units);
      const persisted = persistPool(odd, { systemd: true, unitDirectory: units });
      // As `systemd-escape --path` says it: a dash for a slash, and hexadecimal for what is no letter, digit, ":", "_" or ".".
      const above = directory.slice(1).replaceAll('-', '\\x2d').replaceAll('/', '-');
      expect(persisted.file).toBe(join(units, `${above}-my\\x20pool\\x2d1.mount`));
      expect(readFileSync(persisted.file, 'utf8')).toBe(persisted.text);
      expect(persisted.text).toContain(
        `What=${file}\nWhere=${join(directory, 'my pool-1')}\nType=${backend.name}\n`,
      );
      expect(persisted.text).toContain(`RequiresMountsFor=${directory}\n`);
      expect(persisted.text).toMatch(/^Options=loop,noatime,nodev,nosuid(,discard)?$/m);
      expect(persistPool(odd, { systemd: true, unitDirectory: units }).changed).toBe(false);
      destroyPool(odd, { fstab: join(directory, 'fstab'), unitDirectory: units });
      expect(readdirSync(units)).toEqual([]);
    });
  });

  describe('destroyed', () => {
    test('says before what it would lose, takes mount, file and directory, and leaves no loop device', async () => {
      const { path, file, directory } = place();
      createPool({ path, file, bytes: GiB });
      const pool = await open(path);
      await pool.create('v', { bytes: MiB });
      await pool.seal('v', 't');
      await pool.snapshot('v@s');
      await closeAll();
      const loss = { path, templates: ['t'], volumes: ['v'], snapshots: 1, backing: file };
      expect(describeLoss(path)).toEqual(loss);
      expect(destroyPool(path, { fstab: join(directory, 'fstab'), unitDirectory: directory })).toEqual(loss);
      expect(readdirSync(directory)).toEqual([]);
    });

    test('is refused while somebody has a disk open, and names him', async () => {
      const { path, file, directory } = place();
      createPool({ path, file, bytes: GiB });
      const pool = await open(path);
      await pool.create('v', { bytes: MiB });
      const disk = await pool.diskPath('v');
      await closeAll();
      {
        await using holder = await holdOpen(disk);
        const error = await refusal(() => destroyPool(path, { fstab: join(directory, 'fstab') }), 'blocked');
        expect(error.blockers[0]?.what).toContain(`process ${holder.pid}`);
        // Forced: the holder still keeps it from being unmounted, and nothing is lost.
        await refusal(() => destroyPool(path, { fstab: join(directory, 'fstab'), force: true }), 'blocked');
        expect((await (await open(path)).list()).map((volume) => volume.name)).toEqual(['v']);
        await closeAll();
      }
      destroyPool(path, { fstab: join(directory, 'fstab'), unitDirectory: directory });
    });

    test('takes only the file that is really under it, also when that was deleted or moved', async () => {
      for (const change of ['deleted', 'moved', 'replaced'] as const) {
        const { path, file, directory } = place();
        createPool({ path, file, bytes: GiB });
        if (change === 'deleted') unlinkSync(file);
        else runProgram('mv', ['--', file, `${file}.moved`]);
        if (change === 'replaced') writeFileSync(file, 'somebody else');
        if (change === 'deleted') {
          const pool = await open(path);
          expect((await pool.check()).map((finding) => finding.severity)).toEqual(['error']);
          await closeAll();
          await refusal(() => growPool(path, 2 * GiB));
        }
        destroyPool(path, { fstab: join(directory, 'fstab'), unitDirectory: directory });
        if (change === 'replaced') expect(readFileSync(file, 'utf8')).toBe('somebody else');
        expect(existsSync(path)).toBe(false);
      }
    });
  });
});

function writeMarker(path: string, text: string): void {
  using root = new Descriptor(openSync(path, 'r'));
  writeAttribute(root.fd, 'user.coppice', text);
}

function runScript(script: string): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function output(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(0);
  return text;
}
