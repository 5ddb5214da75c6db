import { setTimeout as sleep } from 'node:timers/promises';
import { runProgram } from '../src/linux/programs.ts';
import { type Measured, measured } from './support/measure.ts';
import { type BenchPool, benchPool } from './support/pool.ts';
import { benchCluster, underLoad, warmUp } from './support/postgres.ts';

const [seconds, between] = [40, 10];
const rounds = 2;

const kinds = {
  CoW: async ({ pool }: BenchPool, name: string) => void (await pool.create(name, { kind: 'tree' })),
  'CoW + zstd': async ({ pool }: BenchPool, name: string) => {
    await pool.create(name, { kind: 'tree' });
    runProgram('btrfs', ['property', 'set', await pool.diskPath(name), 'compression', 'zstd']);
  },
  nodatacow: async ({ pool }: BenchPool, name: string) =>
    void (await pool.create(name, { kind: 'tree', nodatacow: ['pg'] })),
} as const;

/**
 * pgbench with four clients, as fast as it can, on a directory that is copied on write, the same with compression, and one that is
 * overwritten in place (chattr +C): without snapshots, with one every ten seconds, and without again after that.
 */
export async function postgresCow(): Promise<Measured[]> {
  const results: Measured[] = [];
  const samples = new Map<string, number[]>();
  const add = (name: string, value: number): void =>
    void samples.set(name, [...(samples.get(name) ?? []), value]);
  for (let round = 0; round < rounds; round++) {
    for (const [kind, make] of Object.entries(kinds)) {
      await using bench = await benchPool();
      await make(bench, 'db');
      await using cluster = await benchCluster(bench, 'db', 20);
      await warmUp(cluster, 250);
      const measure = async (when: string, meanwhile?: () => Promise<void>): Promise<void> => {
        const { tps, p99 } = await underLoad(cluster, seconds, undefined, meanwhile);
        add(`${kind}, ${when}: transactions a second`, tps);
        add(`${kind}, ${when}: p99`, p99);
      };
      await measure('no snapshots');
      await measure('one every 10 s', async () => {
        for (let count = 1; count * between < seconds; count++) {
          await sleep(between * 1000);
          await bench.pool.snapshot(`db@s${count}`);
        }
      });
      await measure('after them');
    }
  }
  for (const [name, values] of [...samples].sort(([a], [b]) => (a < b ? -1 : 1)))
    results.push(measured(name, name.endsWith('p99') ? 'ms' : '1/s', values));
  return results;
}
