import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compare, type Measured, measured, time } from './support/measure.ts';
import { benchPool } from './support/pool.ts';

const files = 200_000;
const directories = 2000;
const changes = 100;
const rounds = 7;

/**
 * What 100 changes in a tree of 200,000 files are, between two snapshots and until now: beside a look at the size and the time of
 * every file of both, as who has nothing else to go by compares them.
 */
export async function treeDiff(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.create('tree', { kind: 'tree' });
  const root = await pool.diskPath('tree');
  for (let index = 0; index < directories; index++) mkdirSync(join(root, `${index}`));
  for (let index = 0; index < files; index++) writeFileSync(pathOf(root, index), `content ${index}`);
  await pool.snapshot('tree@before');
  change(root);
  await pool.snapshot('tree@after');
  const [before, after] = [await pool.diskPath('tree@before'), await pool.diskPath('tree@after')];
  const differences = async (to?: string): Promise<number> => {
    const { changes: found } = await pool.diff('tree@before', to);
    if (found.length !== changes) throw new Error(`${found.length} changes are told, and not ${changes}.`);
    return found.length;
  };
  lookAtAll(before, after); // so that neither reads from the disk
  const results = await compare(
    rounds,
    () => time(() => differences('tree@after')),
    () => time(() => lookAtAll(before, after)),
  );
  const untilNow: number[] = [];
  for (let round = 0; round < rounds; round++) untilNow.push(await time(() => differences()));
  return [
    measured(
      '100 changes in 200,000 files',
      'ms',
      results.map(({ a }) => a),
      { atMost: 1000 },
    ),
    measured(
      '... a look at every file against that',
      'times',
      results.map(({ a, b }) => b / a),
      { atLeast: 10 },
    ),
    measured('... until now', 'ms', untilNow, { atMost: 1000 }),
  ];
}

function pathOf(root: string, index: number): string {
  return join(root, `${index % directories}`, `file-${index}`);
}

/** A quarter each of files written, removed, renamed and added, far from each other. */
function change(root: string): void {
  for (let index = 0; index < changes; index++) {
    const path = pathOf(root, index * 1999);
    if (index % 4 === 0) writeFileSync(path, 'changed');
    else if (index % 4 === 1) rmSync(path);
    else if (index % 4 === 2) renameSync(path, `${path}-renamed`);
    else writeFileSync(`${path}-added`, 'new');
  }
}

function lookAtAll(before: string, after: string): void {
  const [old, present] = [statesBelow(before), statesBelow(after)];
  let different = 0;
  for (const [path, state] of present) if (old.get(path) !== state) different++;
  if (different === 0) throw new Error('A look at every file has found nothing.');
}

function statesBelow(root: string): Map<string, string> {
  const states = new Map<string, string>();
  const pending = [''];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop())
    for (const entry of readdirSync(join(root, directory), { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) pending.push(path);
      const { size, mtimeMs } = lstatSync(join(root, path));
      states.set(path, `${size} ${mtimeMs}`);
    }
  return states;
}
