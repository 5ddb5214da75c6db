import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createPool, describeLoss, destroyPool, openPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { writePattern } from '../support/content.ts';
import { scratchDirectory, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { backends } from './backends.ts';

const MiB = 2 ** 20;

/** Pools of ZFS themselves. */
if (!backends.some(({ name }) => name === 'zfs'))
  test.skip('pools on zfs (skipped: it runs in a guest, see test/guest)', () => {});
else {
  describe('pools on zfs', () => {
    const file = (): string => sparseFile(256 * MiB);
    // Without udev's rules for it, which nothing else here needs, it would wait for them.
    const dmsetup = (...args: string[]): string =>
      runProgram('env', ['DM_DISABLE_UDEV=1', 'dmsetup', ...args]);

    test('made on a file, found again after an export and import, and destroyed', async () => {
      const path = 'zfs:ontrial';
      const image = join(scratchDirectory('zpool'), 'disk');
      const made = createPool({ path, file: image, bytes: 256 * MiB });
      expect(made).toMatchObject({ path, backing: { type: 'zpool', devices: [image] } });
      expect(createPool({ path, file: image })).toMatchObject({ steps: [], id: made.id });
      const elsewhere = await refusal(() => createPool({ path, device: file() }), 'already_exists');
      expect(elsewhere.message).toContain('zpool add');
      const properties = ['autotrim', 'ashift'].map((name) =>
        runProgram('zpool', ['get', '-H', '-o', 'value', name, 'ontrial']).trim(),
      );
      expect(properties).toEqual(['on', '12']);
      const values = runProgram('zfs', ['get', '-H', '-o', 'value', 'compression,xattr,atime', 'ontrial']);
      expect(values).toBe('lz4\nsa\noff\n');
      const before = await (async () => {
        await using pool = await openPool(path, { inline: true });
        await pool.create('v', { bytes: MiB });
        writePattern(await pool.diskPath('v'), 3, 0, MiB);
        await pool.snapshot('v@s');
        await pool.clone('v@s', 'clone');
        await pool.rollback('v@s');
        expect((await pool.describe()).space.compressRatio).toBeGreaterThanOrEqual(1);
        return [await pool.list(), await pool.listSnapshots(), await pool.tree()];
      })();
      runProgram('udevadm', ['settle']);
      runProgram('zpool', ['export', 'ontrial']);
      const gone = await refusal(() => openPool(path), 'not_a_pool');
      expect(gone.message).toContain('zpool import');
      runProgram('zpool', ['import', '-d', join(image, '..'), 'ontrial']);
      {
        await using pool = await openPool(path, { inline: true });
        expect([await pool.list(), await pool.listSnapshots(), await pool.tree()]).toEqual(before);
        expect(await pool.check()).toEqual([]);
      }
      runProgram('zpool', ['export', 'ontrial']);
      runProgram('zpool', ['import', '-o', 'readonly=on', '-d', join(image, '..'), 'ontrial']);
      {
        await using pool = await openPool(path, { inline: true });
        expect([await pool.list(), await pool.listSnapshots(), await pool.tree()]).toEqual(before);
        expect((await refusal(() => pool.snapshot('v@t'), 'io_error')).message).toContain('read-only');
      }
      runProgram('zpool', ['export', 'ontrial']);
      runProgram('zpool', ['import', '-d', join(image, '..'), 'ontrial']);
      runProgram('zfs', ['create', '-o', 'mountpoint=none', 'ontrial/theirs']);
      expect((await refusal(async () => destroyPool(path, {}), 'blocked')).blockers[0]?.what).toContain(
        'theirs',
      );
      runProgram('zfs', ['destroy', 'ontrial/theirs']);
      expect(describeLoss(path)).toMatchObject({ volumes: ['clone', 'v'], backing: image });
      runProgram('udevadm', ['settle']);
      destroyPool(path, {});
      expect(existsSync('/proc/spl/kstat/zfs/ontrial')).toBe(false);
      expect(existsSync(image)).toBe(false);
    });

    test('an existing dataset is taken as it is, and what it lacks is said with its cost and remedy', async () => {
      runProgram('zpool', ['create', '-m', 'none', 'plain', file()]);
      try {
        runProgram('zfs', ['create', 'plain/vms']);
        const before = runProgram('zfs', [
          'get',
          '-H',
          '-o',
          'value',
          'compression,xattr,atime',
          'plain/vms',
        ]);
        const { warnings } = createPool({ path: 'plain/vms', driver: 'zfs', existing: true });
        expect(warnings.join('\n')).toMatch(/compression=off .*"zfs set compression=lz4 plain\/vms"/);
        expect(warnings.join('\n')).toMatch(/autotrim=off .*"zpool set autotrim=on plain"/);
        expect(runProgram('zfs', ['get', '-H', '-o', 'value', 'compression,xattr,atime', 'plain/vms'])).toBe(
          before,
        );
        {
          await using pool = await openPool('zfs:plain/vms', { inline: true });
          await pool.create('tree', { kind: 'tree' });
        }
        // Also with what takes snapshots of everything; but never with a dataset that somebody else has made in a volume.
        runProgram('zfs', ['snapshot', '-r', 'plain@auto']);
        runProgram('zfs', ['create', '-o', 'mountpoint=none', 'plain/vms/tree/theirs']);
        const theirs = await refusal(async () => destroyPool('zfs:plain/vms', { force: true }), 'blocked');
        expect(theirs.blockers[0]?.what).toContain('plain/vms/tree/theirs');
        runProgram('zfs', ['destroy', '-r', 'plain/vms/tree/theirs']);
        destroyPool('zfs:plain/vms', {});
        expect(runProgram('zfs', ['list', '-H', '-r', '-o', 'name', 'plain'])).toBe('plain\nplain/vms\n');
        const none = await refusal(async () => openPool('zfs:plain/never'), 'not_a_pool');
        expect(none.message).toContain('zfs create plain/never');
      } finally {
        runProgram('zpool', ['destroy', 'plain']);
      }
    });

    test('a device with something on it is refused, which is named, unless forced; one in use always', async () => {
      const used = runProgram('losetup', ['--find', '--show', '--', file()]).trim();
      try {
        runProgram('mkfs.ext4', ['-q', '-L', 'precious', used]);
        const make = async (force: boolean) => createPool({ path: 'zfs:onloop', device: used, force });
        expect((await refusal(() => make(false), 'already_exists')).message).toMatch(
          /ext4 labelled "precious"/,
        );
        await make(true);
        expect(await make(false)).toMatchObject({ steps: [] });
        expect(
          (await refusal(async () => createPool({ path: 'zfs:other', device: used, force: true }), 'blocked'))
            .message,
        ).toContain(used);
        destroyPool('zfs:onloop', {});
      } finally {
        runProgram('losetup', ['--detach', used]);
      }
    });

    test('an encrypted dataset whose key is not loaded says so', async () => {
      const key = join(scratchDirectory('key'), 'key');
      writeFileSync(key, 'correct horse battery staple');
      runProgram('zpool', ['create', '-m', 'none', 'secret', file()]);
      try {
        runProgram('zfs', [
          'create',
          '-o',
          'encryption=on',
          '-o',
          'keyformat=passphrase',
          '-o',
          `keylocation=file://${key}`,
          'secret/vms',
        ]);
        createPool({ path: 'zfs:secret/vms', existing: true });
        await (await openPool('zfs:secret/vms', { inline: true })).close();
        runProgram('zfs', ['unload-key', 'secret/vms']);
        expect((await refusal(() => openPool('zfs:secret/vms'), 'io_error')).message).toContain(
          'zfs load-key',
        );
      } finally {
        runProgram('zpool', ['destroy', 'secret']);
      }
    });

    test('one that is suspended says so, whether it was open or not; others go on working, and so does it when its disk is back', async () => {
      const loop = runProgram('losetup', ['--find', '--show', '--', file()]).trim();
      const sectors = runProgram('blockdev', ['--getsz', loop]).trim();
      const table = `0 ${sectors} linear ${loop} 0`;
      const state = (): string => readFileSync('/proc/spl/kstat/zfs/ailing/state', 'utf8').trim();
      const mend = (): void => {
        dmsetup('reload', 'ailing', '--table', table);
        dmsetup('resume', 'ailing');
        runProgram('zpool', ['clear', 'ailing']);
      };
      runProgram('modprobe', ['dm-mod']);
      dmsetup('create', 'ailing', '--table', table);
      createPool({ path: 'zfs:ailing', device: '/dev/mapper/ailing', force: true });
      try {
        await using pool = await openPool('zfs:ailing', { inline: true });
        await pool.create('v', { bytes: MiB });
        await pool.snapshot('v@s');
        dmsetup('wipe_table', 'ailing');
        // It ends when the disk is back.
        const sync = spawn('zfs', ['set', 'coppice:test=now', 'ailing'], { stdio: 'ignore' });
        const ended = once(sync, 'exit');
        while (state() !== 'SUSPENDED') await delay(20);

        expect((await refusal(() => openPool('zfs:ailing'), 'io_error')).message).toContain('zpool status');
        for (const change of [
          () => pool.create('w', { bytes: MiB }),
          () => pool.clone('v@s', 'w'),
          () => pool.snapshot('v@t'),
          () => pool.rollback('v@s', { force: true }),
          () => pool.remove('v', { withSnapshots: true, force: true }),
        ])
          expect((await refusal(change, 'io_error')).message).toMatch(/suspended.*"zpool clear"/);
        createPool({ path: 'zfs:well', file: join(scratchDirectory('zpool'), 'disk'), bytes: 256 * MiB });
        {
          await using other = await openPool('zfs:well', { inline: true });
          await other.create('v', { bytes: MiB });
          expect(await other.list()).toMatchObject([{ name: 'v' }]);
        }
        destroyPool('zfs:well', {});

        mend();
        expect(await ended).toEqual([0, null]);
        expect(await pool.check()).toEqual([]);
        await pool.clone('v@s', 'w');
        expect((await pool.list()).map(({ name }) => name)).toEqual(['v', 'w']);
      } finally {
        mend();
        destroyPool('zfs:ailing', {});
        dmsetup('remove', 'ailing');
        runProgram('losetup', ['--detach', loop]);
      }
    });

    test.each(['tank/vms/', 'a b', '-x', '../x', 'x'.repeat(81), 'a//b', ''])(
      '%j is no name of a pool',
      async (name) => {
        await refusal(() => openPool(`zfs:${name}`), 'invalid_argument');
      },
    );
  });
}
