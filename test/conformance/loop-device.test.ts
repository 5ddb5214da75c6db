import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { mountOf } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { mountedFileSystem } from '../support/devices.ts';
import { poolPlace } from '../support/pool-place.ts';
import { fileSystems } from './backends.ts';

const GiB = 2 ** 30;

interface Settings {
  readonly directIo: boolean;
  readonly scheduler: string;
}

describe.each(fileSystems)('the loop device under a pool on $name', ({ name, createPool }) => {
  const restore: Array<() => void> = [];
  afterEach(() => {
    for (const step of restore.splice(0)) step();
  });

  /** The kernel keeps a scheduler at the number of the device, so the case gives it back. */
  const choose = (path: string, scheduler: string): void => {
    const settings = `${settingsOf(path)}/queue/scheduler`;
    writeFileSync(settings, scheduler);
    restore.push(() => writeFileSync(settings, 'none'));
  };

  /** As a boot mounts it. While somebody looks at the device, it stays attached as it was, and mount(8) takes it again. */
  const mountedAgain = (path: string, file: string): void => {
    runProgram('umount', ['--', path]);
    runProgram('mount', ['-o', 'loop', '--', file, path]);
    runProgram('losetup', ['--direct-io=off', String(mountOf(path)?.source)]);
  };

  test.each(['ext4', 'xfs'] as const)('on a host with %s goes past its page cache', async (type) => {
    using host = mountedFileSystem(type, 2 * GiB);
    using place = poolPlace();
    const file = join(host.path, 'pool.img');
    createPool({ path: place.path, file, bytes: GiB });
    expect(settings(place.path).directIo).toBe(true);
    mountedAgain(place.path, file);
    choose(place.path, 'none');
    await (await openPool(place.path, { inline: true })).close();
    expect(settings(place.path)).toEqual({ directIo: false, scheduler: 'none' });
    expect(createPool({ path: place.path, file }).steps.join()).toMatch(
      /^set \/dev\/loop\d+ to direct I\/O$/,
    );
    expect(settings(place.path)).toEqual({ directIo: true, scheduler: 'mq-deadline' });
    expect(createPool({ path: place.path, file }).steps).toEqual([]);
  });

  test('keeps a scheduler that somebody has chosen', () => {
    using host = mountedFileSystem('ext4', 2 * GiB);
    using place = poolPlace();
    const file = join(host.path, 'pool.img');
    createPool({ path: place.path, file, bytes: GiB });
    mountedAgain(place.path, file);
    choose(place.path, 'kyber');
    createPool({ path: place.path, file });
    expect(settings(place.path)).toEqual({ directIo: true, scheduler: 'kyber' });
  });

  test('on a host that copies on write stays as it is, whatever is mounted over that', () => {
    using other = mountedFileSystem('ext4', GiB);
    using host = mountedFileSystem('btrfs', 2 * GiB);
    using place = poolPlace();
    const file = join(host.path, 'pool.img');
    createPool({ path: place.path, file, bytes: GiB });
    expect(settings(place.path).directIo).toBe(false);
    runProgram('mount', ['--bind', '--', other.path, host.path]);
    writeFileSync(file, '');
    createPool({ path: place.path });
    expect(settings(place.path).directIo).toBe(false);
    runProgram('umount', ['--', host.path]);
  });

  test('is left alone where somebody else has mounted it', () => {
    using user = mountedFileSystem(name, GiB);
    const path = join(user.path, 'pool');
    mkdirSync(path);
    choose(user.path, 'none');
    createPool({ path, existing: true });
    createPool({ path });
    expect(settings(path)).toEqual({ directIo: false, scheduler: 'none' });
  });
});

function settings(path: string): Settings {
  const directory = settingsOf(path);
  return {
    directIo: readFileSync(`${directory}/loop/dio`, 'utf8').trim() === '1',
    scheduler: /\[(.*)\]/.exec(readFileSync(`${directory}/queue/scheduler`, 'utf8'))?.[1] ?? '',
  };
}

function settingsOf(path: string): string {
  return `/sys/block/${mountOf(path)?.source.slice('/dev/'.length)}`;
}
