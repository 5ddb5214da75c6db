import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { mountOf } from '../../src/linux/mounts.ts';
import { mountedFileSystem } from '../support/devices.ts';
import { poolPlace } from '../support/pool-place.ts';
import { backends } from './backends.ts';

const GiB = 2 ** 30;

interface Settings {
  readonly directIo: boolean;
  readonly scheduler: string;
}

describe.each(backends)('the loop device under a pool on $name', ({ name, createPool }) => {
  test.each(['ext4', 'xfs'] as const)('on a host with %s goes past its page cache', async (type) => {
    using host = mountedFileSystem(type, 2 * GiB);
    using place = poolPlace();
    createPool({ path: place.path, file: join(host.path, 'pool.img'), bytes: GiB });
    choose(place.path, 'none');
    expect(settings(place.path)).toEqual({ directIo: false, scheduler: 'none' });
    await opened(place.path);
    expect(settings(place.path)).toEqual({ directIo: true, scheduler: 'mq-deadline' });
  });

  test('keeps a scheduler that somebody has chosen', async () => {
    using host = mountedFileSystem('ext4', 2 * GiB);
    using place = poolPlace();
    createPool({ path: place.path, file: join(host.path, 'pool.img'), bytes: GiB });
    choose(place.path, 'kyber');
    await opened(place.path);
    expect(settings(place.path)).toEqual({ directIo: true, scheduler: 'kyber' });
  });

  test('on a host that copies on write stays as it is', async () => {
    using host = mountedFileSystem('btrfs', 2 * GiB);
    using place = poolPlace();
    createPool({ path: place.path, file: join(host.path, 'pool.img'), bytes: GiB });
    choose(place.path, 'none');
    await opened(place.path);
    expect(settings(place.path)).toEqual({ directIo: false, scheduler: 'none' });
  });

  test('is left alone where somebody else has mounted it', async () => {
    using user = mountedFileSystem(name, GiB);
    const path = join(user.path, 'pool');
    mkdirSync(path);
    createPool({ path, existing: true });
    choose(path, 'none');
    await opened(path);
    expect(settings(path)).toEqual({ directIo: false, scheduler: 'none' });
  });
});

async function opened(path: string): Promise<void> {
  await (await openPool(path, { inline: true })).close();
}

function choose(path: string, scheduler: string): void {
  writeFileSync(`${settingsOf(path)}/queue/scheduler`, scheduler);
}

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
