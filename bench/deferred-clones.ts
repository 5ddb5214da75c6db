import type * as Library from '../src/index.ts';
import { compileLimit, Limit, limitArguments } from './support/limit.ts';
import { compare, type Measured, measured, time } from './support/measure.ts';
import { benchPool, library, makeImage } from './support/pool.ts';
import { requireSameCalls } from './support/same-calls.ts';

const clones = 2000;
/** After so many in one process, Node has compiled what a clone runs through; until then that takes a share of both processors. */
const warmUp = 10 * clones;
const inFlight = 8;
const rounds = 15;
const inlineRounds = 5;
const turnsInRound = 4;

/**
 * Clones that need not survive a power cut yet, 8 in flight, from a program that uses the library: against a C program that makes
 * the same system calls one after the other. The first clones of a process are slower, and
 * counted for themselves, once; so are those of a pool that is opened with `inline: true`.
 */
export async function deferredClones(driver: 'btrfs' | 'xfs' = 'btrfs'): Promise<Measured[]> {
  await using bench = await benchPool(driver);
  const { id } = await bench.pool.import('template', makeImage(bench.aside, 3));
  const program = compileLimit();
  const args = limitArguments(bench, id);
  requireSameCalls(bench.path, program, args);
  await using limit = new Limit(program, args);
  await bench.pool.sync();
  const cold = await seconds(() => cloneMany(bench.pool, 'cold', clones));
  await bench.pool.sync();
  const coldLimit = await limit.clone('limit-cold', clones);
  await cloneMany(bench.pool, 'warm', warmUp - clones);
  const rates = await ratesAgainst(limit, bench.pool, 'library', rounds);
  await using inline = await library.openPool(bench.path, { inline: true });
  await cloneMany(inline, 'warm-inline', warmUp);
  const inlineRates = await ratesAgainst(limit, inline, 'inline', inlineRounds);
  const name = driver === 'btrfs' ? 'deferred-clones' : `deferred-clones on ${driver}`;
  return [
    measured(
      name,
      'of the rate in C',
      rates.map(({ a, b }) => a / b),
      { atLeast: 0.7 },
    ),
    measured(
      `${name}, library`,
      'clones/s',
      rates.map(({ a }) => a),
    ),
    measured(
      `${name}, inline`,
      'of the rate in C',
      inlineRates.map(({ a, b }) => a / b),
    ),
    measured(`${name}, cold`, 'of the rate in C', [coldLimit / cold]),
    measured(
      `${name}, C`,
      'clones/s',
      rates.map(({ b }) => b),
    ),
  ];
}

/** The rates of the library and of C, in short turns, so that what else the machine does hits both sides alike. */
async function ratesAgainst(
  limit: Limit,
  pool: Library.Pool,
  prefix: string,
  many: number,
): Promise<Array<{ readonly a: number; readonly b: number }>> {
  const turns = await compare(
    many * turnsInRound,
    async (turn) => {
      await pool.sync();
      return seconds(() => cloneMany(pool, `${prefix}-${turn}`, clones / turnsInRound));
    },
    async (turn) => {
      await pool.sync();
      return limit.clone(`limit-${prefix}-${turn}`, clones / turnsInRound);
    },
  );
  const rate = (taken: readonly number[]): number => clones / taken.reduce((sum, each) => sum + each, 0);
  return Array.from({ length: many }, (_, round) => {
    const own = turns.slice(round * turnsInRound, (round + 1) * turnsInRound);
    return { a: rate(own.map(({ a }) => a)), b: rate(own.map(({ b }) => b)) };
  });
}

async function seconds(run: () => unknown): Promise<number> {
  return (await time(run)) / 1000;
}

async function cloneMany(pool: Library.Pool, prefix: string, many: number): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < many) await pool.clone('template', `${prefix}-${next++}`, { durability: 'deferred' });
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
}
