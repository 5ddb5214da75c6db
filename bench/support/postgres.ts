import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runAs } from '../../src/consistency/postgres/programs.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { type Cluster, makeCluster, ownDirectory } from '../../test/support/postgres/cluster.ts';
import { pgbench } from '../../test/support/postgres/programs.ts';
import { runDirectory } from '../../test/support/run-directory.ts';
import type { BenchPool } from './pool.ts';

/** A cluster in a tree volume of a pool, filled for pgbench. */
export async function benchCluster(bench: BenchPool, volume: string, scale: number): Promise<Cluster> {
  // The server is another user, who has to get there.
  for (const directory of [runDirectory(), bench.host, bench.path]) chmodSync(directory, 0o711);
  const path = await bench.pool.diskPath(volume);
  const bed = { path: bench.path, scratch: bench.host, subvolume: () => path } as unknown;
  const cluster = await makeCluster(bed as Parameters<typeof makeCluster>[0], {
    settings: { shared_buffers: '256MB', max_wal_size: '1GB' },
  });
  await runPgbench(cluster, ['-i', '-q', '-s', String(scale)]);
  return cluster;
}

export interface Load {
  readonly tps: number;
  /** Of transactions, in milliseconds; of those that a rate made wait, from when they were due. */
  readonly p99: number;
  readonly worst: number;
  readonly transactions: readonly Transaction[];
}

export interface Transaction {
  /** In milliseconds since 1970. */
  readonly ended: number;
  /** In milliseconds; where a rate made it wait, from when it was due. */
  readonly took: number;
}

/** pgbench with four clients for a time, while something else is done. @param rate transactions a second; as many as it can when absent */
export async function underLoad(
  cluster: Cluster,
  seconds: number,
  rate: number | undefined,
  meanwhile: () => Promise<void> = async () => undefined,
): Promise<Load> {
  const logs = join(cluster.socketDirectory, 'logs');
  ownDirectory(logs, cluster.owner);
  try {
    const words = ['-n', '-c', '4', '-T', String(seconds), '-l', '--log-prefix', join(logs, 'log')];
    const running = runPgbench(cluster, [...words, ...(rate === undefined ? [] : ['-R', String(rate)])]);
    const [output] = await Promise.all([running, meanwhile()]);
    const transactions = readdirSync(logs)
      .flatMap((file) => readFileSync(join(logs, file), 'utf8').split('\n').filter(Boolean))
      .map((line) => transactionOf(line.split(' ').map(Number)));
    const latencies = transactions.map(({ took }) => took).sort((a, b) => a - b);
    return {
      tps: Number(/^tps = ([\d.]+)/m.exec(output)?.[1]),
      p99: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
      worst: latencies.at(-1) ?? Number.NaN,
      transactions,
    };
  } finally {
    rmSync(logs, { recursive: true, force: true });
  }
}

/** A line of pgbench's log: client, number, microseconds, script, and when it ended, in seconds and microseconds. */
function transactionOf([, , took = 0, , seconds = 0, micros = 0]: readonly number[]): Transaction {
  return { took: took / 1000, ended: seconds * 1000 + micros / 1000 };
}

/** The longest of the transactions that were under way between two moments, in milliseconds; 0 when there was none. */
export function worstBetween(transactions: readonly Transaction[], from: number, to: number): number {
  return transactions.reduce(
    (worst, { ended, took }) => (ended >= from && ended - took <= to ? Math.max(worst, took) : worst),
    0,
  );
}

/** Writes out what making the cluster has left dirty, and lets it work until its tables are warm. */
export async function warmUp(cluster: Cluster, rate: number): Promise<void> {
  runProgram('sync', ['-f', '--', cluster.data]);
  await underLoad(cluster, 30, rate);
  runProgram('sync', ['-f', '--', cluster.data]);
}

async function runPgbench(cluster: Cluster, words: readonly string[]): Promise<string> {
  const connection = [
    '-h',
    cluster.socketDirectory,
    '-p',
    String(cluster.port),
    '-U',
    'postgres',
    'postgres',
  ];
  const { code, output, errors } = await runAs(cluster.owner, pgbench(), [...words, ...connection]);
  if (code !== 0) throw new Error(`pgbench: ${errors}`);
  return output;
}
