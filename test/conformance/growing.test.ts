import { openSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { loopDevice, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance('growing', (suite) => {
  test('loop devices on the disk have its new size, and no others change', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume(2 * MiB);
    const neighbour = await suite.volume(2 * MiB);
    const deleted = sparseFile(2 * MiB);
    using first = loopDevice(path);
    using second = loopDevice(path);
    using foreign = loopDevice(neighbour.path);
    using orphan = loopDevice(deleted);
    rmSync(deleted);
    expect(await pool.grow(neighbour.name, { bytes: 2 * MiB })).toMatchObject({
      loopDevices: [foreign.device],
    });
    const grown = await pool.grow(name, { bytes: 5 * MiB });
    expect([...grown.loopDevices].sort()).toEqual([first.device, second.device].sort());
    expect([first, second, foreign, orphan].map(({ device }) => bytesOf(device))).toEqual([
      5 * MiB,
      5 * MiB,
      2 * MiB,
      2 * MiB,
    ]);
  });

  test('a volume without loop devices names none', async () => {
    const { name } = await suite.volume(2 * MiB);
    expect(await suite.pool.grow(name, { bytes: 3 * MiB })).toMatchObject({ loopDevices: [] });
  });

  test('waits while a hypervisor is told the size, which that would set', async () => {
    const { name, path } = await suite.volume(2 * MiB);
    if (path.startsWith('/dev/')) return; // nobody can set the size of a device
    await using impatient = await openPool(suite.home.path, { inline: true, lockTimeout: 50 });
    {
      using told = new Descriptor(openSync(dirname(path), 'r'));
      expect(lock(told.fd, 'shared', false)).toBe(true);
      await refusal(() => impatient.grow(name, { bytes: 3 * MiB }), 'busy');
    }
    expect((await impatient.grow(name, { bytes: 3 * MiB })).previousBytes).toBe(2 * MiB);
  });
});

function bytesOf(device: string): number {
  return Number(readFileSync(`/sys/block/${device.slice('/dev/'.length)}/size`, 'utf8')) * 512;
}
