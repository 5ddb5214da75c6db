import { setTimeout as sleep } from 'node:timers/promises';
import type * as Library from '../src/index.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { benchPool } from './support/pool.ts';
import { benchCluster, underLoad } from './support/postgres.ts';

/** Transactions a second, seconds of each round, and between two snapshots. */
const [rate, seconds, between] = [250, 30, 5];
const rounds = 3;

/** What is done every five seconds. */
const ways = {
  nothing: undefined,
  'none (the system call)': { setting: 'pg', level: 'none' },
  'atomic (flushed first)': { setting: 'pg', level: 'application' },
  'freeze (all processes stopped)': { setting: 'pg', level: 'freeze' },
  'checkpoint, then atomic': { setting: 'pg,recipe=checkpoint', level: 'application' },
  'backup (the backup API)': { setting: 'pg,recipe=backup', level: 'application' },
} as const;

/**
 * What snapshots cost a PostgreSQL at a fixed rate of transactions of four clients: how long one takes, how long anything is held
 * for it, and what the transactions meanwhile take; all ways in each round, so that other load meets them alike.
 */
export async function postgresSnapshots(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.create('db', { kind: 'tree' });
  await using cluster = await benchCluster(bench, 'db', 20);
  const results = new Map(
    Object.keys(ways).map((way) => [
      way,
      { took: [] as number[], held: [] as number[], p99: [] as number[], worst: [] as number[] },
    ]),
  );
  await underLoad(cluster, seconds, rate);
  for (let round = 0; round < rounds; round++) {
    for (const [way, how] of Object.entries(ways)) {
      const result = results.get(way);
      if (how) await pool.set('db', { 'quiesce.postgres': how.setting });
      const { p99, worst } = await underLoad(cluster, seconds, rate, async () => {
        for (let count = 1; how && count * between < seconds; count++) {
          await sleep(between * 1000 - 500);
          let taken: Library.Snapshotted | undefined;
          const took = await time(async () => {
            taken = await pool.snapshot('db@now', { consistency: how.level });
          });
          result?.took.push(took);
          result?.held.push(taken?.heldMilliseconds ?? 0);
          await pool.remove('db@now');
        }
      });
      result?.p99.push(p99);
      result?.worst.push(worst);
    }
  }
  const worstOf = (way: string): number[] => results.get(way)?.worst ?? [];
  const added = worstOf('atomic (flushed first)').map(
    (worst, round) => worst - (worstOf('nothing')[round] ?? 0),
  );
  return [
    ...[...results].flatMap(([way, { took, held, p99, worst }]) => [
      ...(took.length > 0
        ? [measured(`${way}: snapshot`, 'ms', took), measured(`${way}: held`, 'ms', held)]
        : []),
      measured(`${way}: p99`, 'ms', p99),
      measured(`${way}: worst`, 'ms', worst),
    ]),
    measured('atomic adds to the worst', 'ms', added, { atMost: 35 }),
  ];
}
