import { setTimeout as sleep } from 'node:timers/promises';
import type * as Library from '../src/index.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { benchPool } from './support/pool.ts';
import { benchCluster, underLoad, warmUp, worstBetween } from './support/postgres.ts';

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

/** What a declared PostgreSQL gets, and what has a target. */
const aim = 'atomic (flushed first)';

/** For so long around a snapshot, in milliseconds, transactions are looked at for what it did to them. */
const around = 2000;

/**
 * What snapshots cost a PostgreSQL at a fixed rate of transactions of four clients: how long one takes, how long anything is held
 * for it, and what the transactions meanwhile take. "Adds" compares, for each snapshot, the worst transaction of the two seconds
 * that begin with it with the worst of the two before: a disk that others use too is as slow in both.
 */
export async function postgresSnapshots(): Promise<Measured[]> {
  await using bench = await benchPool();
  const { pool } = bench;
  await pool.create('db', { kind: 'tree' });
  await using cluster = await benchCluster(bench, 'db', 20);
  const samples = new Map<string, number[]>();
  const add = (name: string, value: number): void =>
    void samples.set(name, [...(samples.get(name) ?? []), value]);
  await warmUp(cluster, rate);
  for (let round = 0; round < rounds; round++) {
    for (const [way, how] of inTurn(Object.entries(ways), round)) {
      if (how) await pool.set('db', { 'quiesce.postgres': how.setting });
      const begun: number[] = [];
      const { p99, worst, transactions } = await underLoad(cluster, seconds, rate, async () => {
        for (let count = 1; count * between < seconds; count++) {
          await sleep(between * 1000 - 500);
          begun.push(Date.now());
          if (!how) continue;
          let taken: Library.Snapshotted | undefined;
          const took = await time(async () => {
            taken = await pool.snapshot('db@now', { consistency: how.level });
          });
          add(`${way}: snapshot`, took);
          add(`${way}: held`, taken?.heldMilliseconds ?? 0);
          await pool.remove('db@now');
        }
      });
      add(`${way}: p99`, p99);
      add(`${way}: worst`, worst);
      for (const at of begun)
        add(
          `${way}: adds`,
          worstBetween(transactions, at, at + around) - worstBetween(transactions, at - around, at),
        );
    }
  }
  return Object.keys(ways)
    .flatMap((way) => ['snapshot', 'held', 'p99', 'worst', 'adds'].map((what) => `${way}: ${what}`))
    .filter((name) => samples.has(name))
    .map((name) =>
      measured(name, 'ms', samples.get(name) ?? [], name === `${aim}: adds` ? { atMost: 35 } : undefined),
    );
}

/** From another one on in each round, so that none is always the one after the same other. */
function inTurn<T>(all: readonly T[], round: number): T[] {
  const first = (round * 2) % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}
