import { statfsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { runProgram } from '../../src/linux/programs.ts';
import type { DriverName } from './options.ts';

const MiB = 2 ** 20;

export function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/**
 * Waits until what was removed is free again, but for what the file system keeps for itself: a file system that has once held many
 * names has a larger tree, or more room set aside for one.
 * @throws when it does not come back
 */
export async function expectSpaceBack(driver: DriverName, path: string, before: number): Promise<void> {
  const overhead = 64 * MiB;
  for (let tries = 0; ; tries++) {
    if (driver === 'btrfs') runProgram('btrfs', ['subvolume', 'sync', path]);
    runProgram('sync', ['-f', path]);
    const missing = before - freeBytes(path);
    if (missing <= overhead) return;
    if (tries === 100) throw new Error(`${Math.round(missing / MiB)} MiB of ${path} did not come back`);
    await delay(200);
  }
}
