import { mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { allocateFile, Descriptor } from '../src/linux/files.ts';
import { runProgram } from '../src/linux/programs.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { benchPool, GiB } from './support/pool.ts';

const rounds = 15;

/**
 * The rollback of a directory tree of 10 GiB, of which 1 GiB is written data in 4,000 extents and the rest reserved, in 10,000
 * files, with 10 MiB written since its snapshot; beside that of a tree with one small file, in the same rounds. A tree costs nothing by
 * its size, so both take the same.
 */
export async function treeRollback(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.create('large', { kind: 'tree' });
  await pool.create('small', { kind: 'tree' });
  const paths = { large: await pool.diskPath('large'), small: await pool.diskPath('small') };
  writeFileSync(join(paths.small, 'file'), 'x');
  fill(paths.large);
  const taken: Record<keyof typeof paths, number[]> = { large: [], small: [] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? (['large', 'small'] as const) : (['small', 'large'] as const)) {
      await pool.snapshot(`${name}@s${round}`);
      writeFileSync(
        join(paths[name], 'changed'),
        Buffer.alloc(name === 'large' ? 10 * 2 ** 20 : 4096, round),
      );
      runProgram('sync', ['-f', paths[name]]);
      taken[name].push(await time(() => pool.rollback(`${name}@s${round}`)));
    }
    ratios.push((taken.large.at(-1) ?? 0) / (taken.small.at(-1) ?? 1));
  }
  return [
    measured('tree of 10 GiB, rollback', 'ms', taken.large, { atMost: 100 }),
    measured('tree of one file, rollback', 'ms', taken.small),
    measured('the first as multiple of the second', 'times', ratios, { atMost: 2 }),
  ];
}

function fill(path: string): void {
  for (let directory = 0; directory < 100; directory++) {
    mkdirSync(join(path, `d${directory}`));
    for (let file = 0; file < 100; file++) {
      using opened = new Descriptor(openSync(join(path, `d${directory}`, `f${file}`), 'wx'));
      allocateFile(opened.fd, Math.floor((10 * GiB) / 10_000 / 4096) * 4096);
      const written = directory < 10 ? 4 : 0;
      for (let at = 0; at < written; at++)
        writeSync(opened.fd, Buffer.alloc(262_144, file + 1), 0, 262_144, at * 262_144);
    }
  }
  runProgram('sync', ['-f', path]);
}
