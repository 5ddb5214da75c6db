import {
  mkdirSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { destroyPool, growPool, openPool, persistPool } from '../../src/index.ts';
import { mountOf } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, writePattern } from '../support/content.ts';
import { loopDevice, mountedFileSystem, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { poolPlace } from '../support/pool-place.ts';
import { fileSystems } from './backends.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const TiB = 2 ** 40;

describe.each(fileSystems)('on $name', (backend) => {
  const { createPool } = backend;

  describe('a pool is known by what Coppice wrote in it', () => {
    test('in a file whose label the user has changed', () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      const { id } = createPool({ path, file, bytes: GiB });
      backend.tools.setLabel(path, 'mine');
      runProgram('umount', ['--', path]);
      expect(createPool({ path, file })).toMatchObject({ id, steps: [`mounted ${file} on ${path}`] });
      destroyPool(path, boot);
    });

    test('on a device whose label the user has changed', () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      using loop = loopDevice(sparseFile(GiB, join(directory, 'disk')));
      const { id } = createPool({ path, device: loop.device });
      backend.tools.setLabel(path, 'mine');
      runProgram('umount', ['--', path]);
      expect(createPool({ path, device: loop.device })).toMatchObject({ id });
      destroyPool(path, boot);
    });

    test('also where a run made the file and no more', () => {
      using home = poolPlace();
      const { path, file } = home;
      sparseFile(GiB, file);
      runProgram(`mkfs.${backend.name}`, ['-q', '-L', 'coppice', file]);
      expect(createPool({ path, file }).steps).toHaveLength(2);
    });

    test('and not by a label: the file and the device of a stranger are not changed by a byte', async () => {
      using home = poolPlace();
      const { path, file, directory } = home;
      sparseFile(GiB, file);
      runProgram(`mkfs.${backend.name}`, ['-q', '-L', 'coppice', file]);
      const theirs = join(directory, 'theirs');
      mkdirSync(theirs);
      runProgram('mount', ['-o', 'loop', '--', file, theirs]);
      writeFileSync(join(theirs, 'precious'), 'x');
      runProgram('umount', ['--', theirs]);
      const before = digest(file);
      await refusal(() => createPool({ path, file }), 'already_exists');
      {
        using loop = loopDevice(file);
        await refusal(() => createPool({ path, device: loop.device }), 'already_exists');
      }
      expect(digest(file)).toBe(before);
      runProgram('mount', ['-o', 'loop', '--', file, theirs]);
      expect(readFileSync(join(theirs, 'precious'), 'utf8')).toBe('x');
    });

    test('so an empty btrfs of a stranger that is mounted there is left alone', async () => {
      using host = mountedFileSystem(backend.name, GiB);
      const error = await refusal(() => createPool({ path: host.path, bytes: GiB }), 'already_exists');
      expect(error.message).toContain('--existing');
      expect(readdirSync(host.path)).toEqual([]);
      expect(readdirSync(dirname(host.path)).sort()).toEqual(['fs.img', 'mnt']);
    });
  });

  describe('what can not be a file under a pool is refused in words', () => {
    test('a symbolic link, a directory, a device', async () => {
      using home = poolPlace();
      const { path, directory } = home;
      symlinkSync('/nowhere', join(directory, 'link'));
      mkdirSync(join(directory, 'directory'));
      const link = await refusal(
        () => createPool({ path, file: join(directory, 'link') }),
        'invalid_argument',
      );
      expect(link.message).toContain('is a symbolic link');
      await refusal(() => createPool({ path, file: join(directory, 'directory') }), 'invalid_argument');
      using loop = loopDevice(sparseFile(GiB, join(directory, 'disk')));
      const device = await refusal(() => createPool({ path, file: loop.device }), 'invalid_argument');
      expect(device.message).toContain('--device');
    });

    test('one that is larger than its file system can hold', async () => {
      using host = mountedFileSystem('ext4', 512 * MiB);
      using home = poolPlace();
      const file = join(host.path, 'pool.img');
      const error = await refusal(
        () => createPool({ path: home.path, file, bytes: 100 * TiB }),
        'invalid_argument',
      );
      expect(error.message).toContain("can't hold a file of 100 TiB");
      expect(readdirSync(host.path)).toEqual(['lost+found']);
      createPool({ path: home.path, file, bytes: GiB });
      await refusal(() => growPool(home.path, 100 * TiB), 'invalid_argument');
      destroyPool(home.path, home.boot);
    });
  });

  describe('a file that promises more than its host has', () => {
    test('is warned of when the pool is made, and only then', () => {
      using home = poolPlace();
      const { path, file } = home;
      const { bavail, bsize } = statfsSync(home.directory);
      const made = createPool({ path, file, bytes: bavail * bsize + 64 * GiB });
      expect(made.warnings).toHaveLength(1);
      expect(made.warnings[0]).toMatch(/may grow to .*has only .* free: .*read-only/);
      expect(createPool({ path, file }).warnings).toEqual([]);
    });

    test('is not there where it fits, or is reserved', () => {
      using home = poolPlace();
      const { path, file } = home;
      expect(createPool({ path, file, bytes: GiB }).warnings).toEqual([]);
      using other = poolPlace();
      expect(createPool({ path: other.path, bytes: GiB, preallocate: true }).warnings).toEqual([]);
    });
  });

  describe('--preallocate', () => {
    const allocated = (file: string): number => statSync(file).blocks * 512;

    test.each(['mounted', 'unmounted'])(
      'of a sparse pool that is there, %s, reserves its blocks and keeps them',
      async (state) => {
        using home = poolPlace();
        const { path, file, boot } = home;
        const { id } = createPool({ path, file, bytes: GiB });
        await fillAndEmpty(path);
        if (state === 'mounted' && backend.traits.discardChangesWhileMounted !== true) {
          const { message } = await refusal(() => createPool({ path, preallocate: true }), 'blocked');
          expect(message).toContain(
            `run umount ${path}, and then coppice pool create ${path} --file ${file} --preallocate.`,
          );
        }
        if (state === 'unmounted' || backend.traits.discardChangesWhileMounted !== true)
          runProgram('umount', ['--', path]);
        const reserved = createPool({ path, file, preallocate: true });
        expect(reserved).toMatchObject({ id, backing: { preallocated: true } });
        expect(reserved.steps.at(-1)).toContain('reserved');
        expect(reserved.warnings.join()).toContain('pool persist');
        expect(createPool({ path, preallocate: true })).toMatchObject({ steps: [], warnings: [] });
        await fillAndEmpty(path);
        runProgram('umount', ['--', path]); // then the kernel has given back what it wanted to
        expect(allocated(file)).toBeGreaterThanOrEqual(GiB);
        createPool({ path, file });
        expect(persistPool(path, boot).text).toContain('nodiscard,X-fstrim.notrim');
        destroyPool(path, boot);
      },
    );

    test('of a sparse pool that does not fit: refused, and nothing is changed', async () => {
      using home = poolPlace();
      const { path, file } = home;
      const { bavail, bsize } = statfsSync(home.directory);
      createPool({ path, file, bytes: bavail * bsize + 64 * GiB });
      const before = allocated(file);
      const error = await refusal(() => createPool({ path, preallocate: true }), 'no_space');
      expect(error.neededBytes).toBeGreaterThan(error.availableBytes ?? 0);
      expect(allocated(file)).toBeLessThan(before + 64 * MiB);
    });

    test('of an unmounted one that does not fit: refused before it is mounted', async () => {
      using home = poolPlace();
      const { path, file } = home;
      const { bavail, bsize } = statfsSync(home.directory);
      createPool({ path, file, bytes: bavail * bsize + 64 * GiB });
      runProgram('umount', ['--', path]);
      await refusal(() => createPool({ path, file, preallocate: true }), 'no_space');
      expect(mountOf(path)?.mountPoint).not.toBe(path);
    });

    test('frees a pool from the reserve of its host', async () => {
      for (const preallocate of [false, true]) {
        using host = mountedFileSystem('ext4', GiB);
        using home = poolPlace();
        const { path } = home;
        createPool({ path, file: join(host.path, 'pool.img'), bytes: 512 * MiB, preallocate });
        writeFileSync(join(host.path, 'filler'), '');
        const { bavail, bsize } = statfsSync(host.path);
        runProgram('fallocate', ['-l', String(bavail * bsize - 32 * MiB), '--', join(host.path, 'filler')]);
        {
          await using pool = await openPool(path, { inline: true });
          if (preallocate) await pool.create('v', { bytes: MiB });
          else await refusal(() => pool.create('v', { bytes: MiB }), 'no_space');
        }
        destroyPool(path, home.boot);
      }
    });

    async function fillAndEmpty(path: string): Promise<void> {
      await using pool = await openPool(path, { inline: true });
      await pool.create('v', { bytes: 128 * MiB });
      writePattern(await pool.diskPath('v'), 1, 0, 128 * MiB);
      await pool.remove('v');
      await pool.usage([], { exact: true });
    }
  });
});
