import { openSync, writeSync } from 'node:fs';
import { Descriptor } from '../src/linux/files.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { benchPool, freed, makeImage } from './support/pool.ts';

const volumes = 1000;
const rounds = 15;
const MiB = 2 ** 20;

/**
 * What 1,000 volumes take, of which one in ten has a snapshot: as it was measured last, which is what is asked for often; and one
 * measured anew, to the block, which is proved by writing into it.
 */
export async function usage(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.import('template', makeImage(bench.aside, 3));
  await pool.cloneMany('template', 'vm', volumes - 1);
  for (let index = 1; index < volumes; index += 10)
    await pool.snapshot(`vm-${index}@s`, { durability: 'deferred' });
  await freed(bench);
  using disk = new Descriptor(openSync(await pool.diskPath('vm-1'), 'r+'));
  const [cached, exact, errors]: [number[], number[], number[]] = [[], [], []];
  await pool.usage();
  for (let round = 0; round < rounds; round++) {
    cached.push(
      await time(async () => {
        const { usages } = await pool.usage();
        if (usages.length !== volumes + 100)
          throw new Error(`${usages.length} volumes and snapshots are measured.`);
      }),
    );
    // Beside what the disk has from its template, and each time in a place of its own.
    writeSync(disk.fd, Buffer.alloc(MiB, round + 1), 0, MiB, (round + 1) * 8 * MiB);
    exact.push(
      await time(async () => {
        const [of] = (await pool.usage(['vm-1'], { exact: true })).usages;
        errors.push(Math.abs((of?.exclusiveBytes ?? Number.NaN) - (round + 1) * MiB));
      }),
    );
  }
  return [
    measured('usage of 1,000, cached', 'ms', cached, { atMost: 100 }),
    measured('usage, exact, off by', 'bytes', [Math.max(...errors)], { atMost: 0 }),
    measured('usage, exact, of one', 'ms', exact),
  ];
}
