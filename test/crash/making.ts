import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { remark } from '../support/inside-pool.ts';
import { disk, noise, overwrite, overwritten } from './content.ts';
import { originalsIn } from './state.ts';

/** What crash tests find in a pool before they interrupt something. */

export const base: Buffer = disk('base');
/** What the volume that `makeVolume` makes held one after the other: in its snapshots, and now. */
export const first: Buffer = overwritten(base, 'first');
export const second: Buffer = overwritten(base, 'second');
export const third: Buffer = overwritten(base, 'third');

/** A volume with two snapshots and a present state that is like neither. */
export async function makeVolume(pool: Pool): Promise<void> {
  await pool.clone('base', 'vm', { durability: 'deferred' });
  const path = await pool.diskPath('vm');
  overwrite(path, 'first');
  await pool.snapshot('vm@s1', { durability: 'deferred' });
  overwrite(path, 'second');
  await pool.snapshot('vm@s2', { durability: 'deferred' });
  overwrite(path, 'third');
  await pool.sync();
}

/** The same volume, with a policy that has made its snapshots and one more yesterday, and that keeps two. */
export async function makePolicy(pool: Pool): Promise<void> {
  await makeVolume(pool);
  await pool.snapshot('vm@s3');
  await pool.snapshot('vm@mine');
  const created = new Date(Date.now() - 24 * 3600 * 1000).toISOString();
  for (const name of ['s1', 's2', 's3'])
    await remark(pool.path, `vm@${name}`, (metadata) => ({ ...metadata, reason: 'policy', created }));
  await pool.set('vm', { 'policy.schedule': 'hourly', 'policy.last': '2' });
}

/** A directory tree with a snapshot, which was changed since. */
export async function makeTree(pool: Pool): Promise<void> {
  await pool.create('tree', { kind: 'tree', durability: 'deferred' });
  const path = await pool.diskPath('tree');
  mkdirSync(join(path, 'deep'));
  for (const [name, content] of treeFiles('first')) writeFileSync(join(path, name), content, { flush: true });
  await pool.snapshot('tree@s1', { durability: 'deferred' });
  for (const [name, content] of treeFiles('second'))
    writeFileSync(join(path, name), content, { flush: true });
  await pool.sync();
}

/** A tree with parts in another one, as of a cluster: snapshots of both that belong together, and both changed since. */
export async function makeApart(pool: Pool): Promise<void> {
  const names = ['db', 'far'];
  for (const name of names) {
    await pool.create(name, { kind: 'tree', durability: 'deferred' });
    mkdirSync(join(await pool.diskPath(name), 'pg/global'), { recursive: true });
    await writeApart(pool, name, 'first');
  }
  await pool.snapshot(names.map((name) => `${name}@s1`));
  const [lead = '', other = ''] = (await pool.list()).flatMap(({ name, id }) =>
    names.includes(name) ? (id ?? '') : [],
  );
  for (const [name, volume, volumeId] of [
    ['db', 'far', other],
    ['far', 'db', lead],
  ] as const)
    await remark(pool.path, `${name}@s1`, (metadata) => ({
      ...metadata,
      together: { lead, volumes: [{ volumeId, volume }] },
    }));
  await pool.set('db', { 'quiesce.postgres': 'pg' });
  for (const name of names) await writeApart(pool, name, 'second');
  await pool.sync();
}

async function writeApart(pool: Pool, name: string, seed: string): Promise<void> {
  const path = await pool.diskPath(name);
  for (const [file, content] of apartFiles(name, seed))
    writeFileSync(join(path, file), content, { flush: true });
}

export function apartFiles(name: string, seed: string): Array<readonly [name: string, content: Buffer]> {
  if (name !== 'db') return [['pg/a', noise(`${seed} ${name}`, 100_000)]];
  return ['pg/a', 'pg/global/pg_control'].map((file) => [file, noise(`${seed} ${file}`, 8192)] as const);
}

export function treeFiles(seed: string): Array<readonly [name: string, content: Buffer]> {
  return ['a', 'deep/b'].map((name) => [name, noise(`${seed} ${name}`, 100_000)] as const);
}

/** Clones of `base`, each overwritten with its own name. */
export async function makeDisks(pool: Pool, ...names: string[]): Promise<void> {
  for (const name of names) {
    await pool.clone('base', name, { durability: 'deferred' });
    overwrite(await pool.diskPath(name), name);
  }
  await pool.sync();
}

/** A chain so long that the last do not remember the first: removing one from its middle must leave a record. */
export async function makeChain(pool: Pool): Promise<void> {
  let source = 'base';
  for (let depth = 1; depth <= 18; depth++) {
    await pool.clone(source, `depth-${depth}`, { durability: 'deferred' });
    source = `depth-${depth}`;
  }
  await pool.sync();
}

/** Disks beside the pool, on its file system. */
export async function makeOriginals(pool: Pool, disks: Readonly<Record<string, Buffer>>): Promise<void> {
  const directory = originalsIn(pool.path);
  mkdirSync(directory);
  for (const [name, content] of Object.entries(disks)) writeFileSync(join(directory, `${name}.raw`), content);
  runProgram('sync', ['-f', directory]);
}

export async function importBase(pool: Pool, scratch: string): Promise<void> {
  const file = join(scratch, 'base.raw');
  writeFileSync(file, base);
  await pool.import('base', file);
}
