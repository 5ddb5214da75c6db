import { statfsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { runProgram } from '../../src/linux/programs.ts';
import type { DriverName } from './options.ts';

const MiB = 2 ** 20;

export function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** What is used of a file system. That btrfs keeps room set aside for names after it has held many is no use of it. */
export function usedBytes(path: string): number {
  const { blocks, bfree, bsize } = statfsSync(path);
  return (blocks - bfree) * bsize;
}

/**
 * Waits until what was removed is free again, but for what the file system needs itself: trees that have once held many names.
 * @param before what was used then
 * @throws when it does not come back
 */
export async function expectSpaceBack(driver: DriverName, path: string, before: number): Promise<void> {
  const overhead = 16 * MiB;
  for (let tries = 0; ; tries++) {
    if (driver === 'btrfs') runProgram('btrfs', ['subvolume', 'sync', path]);
    runProgram('sync', ['-f', path]);
    const missing = usedBytes(path) - before;
    if (missing <= overhead) return;
    if (tries === 100) throw new Error(`${Math.round(missing / MiB)} MiB of ${path} did not come back`);
    await delay(200);
  }
}
