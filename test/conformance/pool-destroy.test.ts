import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describeLoss, destroyPool, openPool, persistPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { loopDevice, mountedFileSystem, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { poolPlace } from '../support/pool-place.ts';
import { fileSystems } from './backends.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

describe.each(fileSystems)('on $name', (backend) => {
  const { createPool } = backend;

  describe('a pool whose file was moved while it was mounted', () => {
    test('is destroyed with the file that is under it, and a stranger of the old name is left alone', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const moved = `${file}.moved`;
      runProgram('mv', ['--', file, moved]);
      writeFileSync(file, 'somebody else');
      expect(describeLoss(path).backing).toBe(moved);
      expect(destroyPool(path, boot).backing).toBe(moved);
      expect(existsSync(moved)).toBe(false);
      expect(readFileSync(file, 'utf8')).toBe('somebody else');
      expect(readdirSync(home.directory)).toEqual(['pool.img']);
    });

    test('is shown with the name that the file has now, and mounted at boot by that', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const before = persistPool(path, boot);
      expect(before.text).toContain(`${file} `);
      const moved = `${file}.moved`;
      runProgram('mv', ['--', file, moved]);
      {
        await using pool = await openPool(path, { inline: true });
        expect((await pool.describe()).backing).toMatchObject({ type: 'loop', file: moved });
      }
      persistPool(path, boot);
      expect(readFileSync(boot.fstab, 'utf8')).toBe(before.text.replace(file, moved).concat('\n'));
      expect(createPool({ path, file: moved }).steps).toEqual([]);
      await refusal(() => createPool({ path, file }), 'already_exists');
      destroyPool(path, boot);
      expect(readFileSync(boot.fstab, 'utf8')).toBe('');
    });

    test('and can no longer be found: refused before anything is changed', async () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      const file = join(directory, 'below', 'pool.img');
      createPool({ path, file, bytes: GiB });
      persistPool(path, boot);
      runProgram('mount', ['-t', 'tmpfs', 'none', dirname(file)]);
      await refusal(() => destroyPool(path, boot), 'damaged');
      await refusal(() => persistPool(path, boot), 'damaged');
      expect(readFileSync(boot.fstab, 'utf8')).toContain(path);
      runProgram('umount', ['--', dirname(file)]);
      destroyPool(path, boot);
      expect(existsSync(file)).toBe(false);
    });
  });

  describe('a destruction that fails half way can be run again', () => {
    test('when fstab can not be written', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      persistPool(path, boot);
      const before = readFileSync(boot.fstab, 'utf8');
      {
        using _ = readOnly(dirname(boot.fstab));
        const error = await refusal(() => destroyPool(path, boot));
        expect(error.message).toMatch(/Could not destroy .*read-only.*run it again/);
        expect(readFileSync(boot.fstab, 'utf8')).toBe(before);
        await using pool = await openPool(path, { inline: true });
        expect(await pool.check()).toEqual([]);
        await pool.create('v', { bytes: MiB });
      }
      expect(destroyPool(path, boot).volumes).toEqual(['v']);
      expect(readFileSync(boot.fstab, 'utf8')).toBe('');
      expect(readdirSync(home.directory)).toEqual([]);
    });

    test('when the file can not be deleted', async () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      const file = join(directory, 'below', 'pool.img');
      createPool({ path, file, bytes: GiB });
      runProgram('chattr', ['+i', '--', dirname(file)]);
      try {
        await refusal(() => destroyPool(path, boot));
        await using pool = await openPool(path, { inline: true });
        expect((await pool.describe()).mountOptions).toEqual(
          expect.arrayContaining(['rw', 'nodev', 'nosuid']),
        );
      } finally {
        runProgram('chattr', ['-i', '--', dirname(file)]);
      }
      destroyPool(path, boot);
      expect(existsSync(file)).toBe(false);
      expect(existsSync(path)).toBe(false);
    });

    test('when it can not be unmounted: nothing is changed', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      persistPool(path, boot);
      const before = readFileSync(boot.fstab, 'utf8');
      {
        await using pool = await openPool(path, { inline: true });
        await refusal(() => destroyPool(path, boot), 'blocked');
        expect(await pool.check()).toEqual([]);
      }
      expect(readFileSync(boot.fstab, 'utf8')).toBe(before);
      destroyPool(path, boot);
    });
  });

  describe('what stands in the way of a destruction is named before, and nothing is changed', () => {
    test('the pool on a second directory', async () => {
      using home = poolPlace();
      const { path, file, directory, boot } = home;
      createPool({ path, file, bytes: GiB });
      const other = join(directory, 'other');
      mkdirSync(other);
      runProgram('mount', ['--bind', '--', path, other]);
      expect(describeLoss(path).blockers).toEqual([
        { kind: 'mounted', what: `the pool is also mounted on ${other}`, remedy: `unmount ${other}` },
      ]);
      for (const force of [false, true]) {
        const error = await refusal(() => destroyPool(path, { ...boot, force }), 'blocked');
        expect(error.message).toContain(other);
      }
      expect(existsSync(file)).toBe(true);
      runProgram('umount', ['--', other]);
      expect(describeLoss(path).blockers).toBeUndefined();
      destroyPool(path, boot);
    });

    test('something mounted inside it', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      mkdirSync(join(path, 'inside'));
      runProgram('mount', ['-t', 'tmpfs', 'none', join(path, 'inside')]);
      const error = await refusal(() => destroyPool(path, boot), 'blocked');
      expect(error.blockers[0]?.what).toContain(join(path, 'inside'));
      expect(describeLoss(path).blockers).toEqual(error.blockers);
    });

    test('an open disk, and any other open file', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      {
        await using pool = await openPool(path, { inline: true });
        await pool.create('v', { bytes: MiB });
      }
      writeFileSync(join(path, 'notes'), '');
      for (const name of ['volumes/v/data/disk.raw', 'notes']) {
        await using holder = await holdOpen(join(path, name));
        const error = await refusal(() => destroyPool(path, boot), 'blocked');
        expect(error.blockers).toHaveLength(1);
        expect(error.message).toContain(name);
        expect(error.message).toContain(`process ${holder.pid}`);
        expect(describeLoss(path).blockers).toEqual(error.blockers);
      }
      destroyPool(path, boot);
    });
  });

  describe('what Coppice did not make outlives the pool', () => {
    test('the directory that it was mounted on', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      mkdirSync(path, { mode: 0o711 });
      createPool({ path, file, bytes: GiB });
      runProgram('umount', ['--', path]);
      createPool({ path, file });
      destroyPool(path, boot);
      expect(statSync(path).mode & 0o777).toBe(0o711);
      expect(existsSync(file)).toBe(false);
    });

    test('another mount point than the one that it made', async () => {
      using home = poolPlace();
      const { path, file, directory, boot } = home;
      createPool({ path, file, bytes: GiB });
      runProgram('umount', ['--', path]);
      const elsewhere = join(directory, 'elsewhere');
      mkdirSync(elsewhere);
      createPool({ path: elsewhere, file });
      destroyPool(elsewhere, boot);
      expect(readdirSync(directory).sort()).toEqual(['elsewhere', 'mnt']);
    });

    test('lines in fstab for the same directory that mount something else', async () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const strangers = `UUID=0c0ffee0-0000-4000-8000-000000000000 ${path} ${backend.name} noauto 0 0\n/other.img ${path} ${backend.name} loop,noauto 0 0`;
      const { text } = persistPool(path, boot);
      writeFileSync(boot.fstab, `${text}\n${strangers}`);
      const error = await refusal(() => persistPool(path, boot), 'already_exists');
      expect(error.message).toContain('UUID=0c0ffee0');
      destroyPool(path, boot);
      expect(readFileSync(boot.fstab, 'utf8')).toBe(strangers);
    });

    test('the line in fstab of an adopted file system', async () => {
      using host = mountedFileSystem(backend.name, 4 * GiB);
      const { fstab, unitDirectory } = poolPlace().boot;
      const line = `${host.file} ${host.path} ${backend.name} loop,noatime,nodev,nosuid,nofail 0 0\n`;
      writeFileSync(fstab, line);
      createPool({ path: host.path, existing: true });
      destroyPool(host.path, { fstab, unitDirectory });
      expect(readFileSync(fstab, 'utf8')).toBe(line);
      expect(existsSync(host.path)).toBe(true);
    });
  });

  describe('a pool on a device', () => {
    test('is mounted at boot by the id of its file system, which no boot changes', async () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      using loop = loopDevice(sparseFile(GiB, join(directory, 'disk')));
      createPool({ path, device: loop.device });
      const uuid = runProgram('blkid', ['-s', 'UUID', '-o', 'value', '--', loop.device]).trim();
      const old = `${loop.device} ${path} ${backend.name} noatime,nodev,nosuid,nofail 0 0\n`;
      writeFileSync(boot.fstab, old);
      const { text } = persistPool(path, boot);
      expect(text).toBe(`UUID=${uuid} ${path} ${backend.name} noatime,nodev,nosuid,nofail 0 0`);
      expect(readFileSync(boot.fstab, 'utf8')).toBe(`${text}\n`);
      expect(persistPool(path, { ...boot, systemd: true }).text).toContain(
        `What=/dev/disk/by-uuid/${uuid}\n`,
      );
      runProgram('umount', ['--', path]);
      runProgram('mount', ['--fstab', boot.fstab, '--', path]);
      destroyPool(path, boot);
      expect(readFileSync(boot.fstab, 'utf8')).toBe('');
      expect(runProgram('wipefs', ['--noheadings', '--', loop.device])).toBe('');
    });

    test('is the same pool under any name of the device, also a relative one', () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      using loop = loopDevice(sparseFile(GiB, join(directory, 'disk')));
      const link = join(directory, 'by-id');
      symlinkSync(loop.device, link);
      const made = createPool({ path, device: relative(process.cwd(), link) });
      expect(made.backing).toEqual({ type: 'device', device: loop.device });
      for (const device of [link, loop.device, relative(process.cwd(), loop.device)])
        expect(createPool({ path, device })).toMatchObject({ id: made.id, steps: [] });
      runProgram('umount', ['--', path]);
      expect(createPool({ path, device: loop.device })).toMatchObject({ id: made.id });
      destroyPool(path, boot);
      expect(runProgram('wipefs', ['--noheadings', '--', loop.device])).toBe('');
    });

    test('is shown with the name that the device has now', async () => {
      using home = poolPlace();
      const { path, directory, boot } = home;
      const disk = sparseFile(GiB, join(directory, 'disk'));
      const first = loopDevice(disk);
      createPool({ path, device: first.device });
      runProgram('umount', ['--', path]);
      using second = loopDevice(disk);
      first[Symbol.dispose]();
      runProgram('mount', ['--', second.device, path]);
      {
        await using pool = await openPool(path, { inline: true });
        expect((await pool.describe()).backing).toEqual({ type: 'device', device: second.device });
      }
      expect(describeLoss(path).backing).toBe(second.device);
      destroyPool(path, boot);
    });
  });
});

function readOnly(directory: string): Disposable {
  runProgram('mount', ['--bind', '--', directory, directory]);
  runProgram('mount', ['-o', 'remount,bind,ro', '--', directory]);
  return { [Symbol.dispose]: () => void runProgram('umount', ['--', directory]) };
}
