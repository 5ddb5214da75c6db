import { expect } from 'vitest';
import type { Pool } from '../../src/index.ts';
import { pausedChild } from '../crash/paused-child.ts';
import { type Suite, staged } from './suite.ts';

const MiB = 2 ** 20;

/** The rename of the entry of a group: before it, nothing of the group is there or gone; after it, all. */
export const committing: RegExp = /^renameat2 [0-9a-f-]{36}$/;

/** Renames a volume when a sweep has read the names of all and looked at none: no snapshot may be seen in it afterwards. */
export async function renameDuringSweep(suite: Suite, name: string): Promise<void> {
  await using sweeper = pausedChild({ pool: suite.home.path, call: ['open'] });
  await sweeper.until(/^flock/);
  await sweeper.until(/^lgetxattr/);
  const renamed = suite.name();
  await suite.pool.rename(name, renamed);
  await sweeper.finish();
  expect(await suite.pool.listSnapshots(renamed)).toEqual([]);
  expect(staged(suite.home)).toEqual([]);
}

export async function several(suite: Suite, count: number, stem = 'v'): Promise<string[]> {
  const names = Array.from({ length: count }, () => suite.name(stem));
  for (const name of names) await suite.pool.create(name, { bytes: MiB, durability: 'deferred' });
  return names;
}

/** All that a user can see of volumes and snapshots. */
export async function everything(pool: Pool): Promise<unknown> {
  return [await pool.list(), await pool.listSnapshots()];
}
