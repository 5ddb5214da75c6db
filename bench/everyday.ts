import { openSync, writeSync } from 'node:fs';
import { Descriptor } from '../src/linux/files.ts';
import { runProgram } from '../src/linux/programs.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { benchPool, freed, makeImage } from './support/pool.ts';

const rounds = 15;

/** What the other operations take, to know and not to reach: durable, one at a time, in a pool of 2,000 volumes. */
export async function everyday(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.import('template', makeImage(bench.aside, 1000));
  await freed(bench);
  const before = usedBytes(bench.path);
  await pool.cloneMany('template', 'vm', 100);
  const spaceOfClone = (usedBytes(bench.path) - before) / 100;
  await pool.cloneMany('template', 'other', 1899);
  using disk = new Descriptor(openSync(await pool.diskPath('vm-1'), 'r+'));
  const write = (round: number): number =>
    writeSync(disk.fd, Buffer.alloc(2 ** 20, round + 1), 0, 2 ** 20, 0);

  const [snapshots, rollbacks, lists, usages, exact]: number[][] = [[], [], [], [], []];
  for (let round = 0; round < rounds; round++) {
    write(round);
    snapshots?.push(await time(() => pool.snapshot(`vm-1@s${round}`)));
    rollbacks?.push(await time(() => pool.rollback(`vm-1@s${round}`, { force: true })));
    lists?.push(await time(() => pool.list()));
    usages?.push(await time(() => pool.usage()));
    exact?.push(await time(() => pool.usage(['vm-2'], { exact: true })));
  }
  return [
    measured('everyday, snapshot, 1 MiB dirty', 'ms', snapshots ?? []),
    measured('everyday, rollback', 'ms', rollbacks ?? []),
    measured('everyday, list of 2,000', 'ms', lists ?? []),
    measured('everyday, usage of 2,000', 'ms', usages ?? []),
    measured('everyday, exact usage of one', 'ms', exact ?? []),
    measured('everyday, space of a clone', 'KiB', [spaceOfClone / 1024]),
  ];
}

/** Data and metadata in use, as btrfs counts them; what is kept twice counts once. */
function usedBytes(path: string): number {
  const lines = runProgram('btrfs', ['filesystem', 'df', '-b', path]).matchAll(/, used=(\d+)/g);
  return [...lines].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}
