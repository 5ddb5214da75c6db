import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runAs } from '../../src/consistency/postgres/programs.ts';
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
    const latencies = readdirSync(logs)
      .flatMap((file) => readFileSync(join(logs, file), 'utf8').split('\n').filter(Boolean))
      .map((line) => Number(line.split(' ')[2]) / 1000)
      .sort((a, b) => a - b);
    return {
      tps: Number(/^tps = ([\d.]+)/m.exec(output)?.[1]),
      p99: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
      worst: latencies.at(-1) ?? Number.NaN,
    };
  } finally {
    rmSync(logs, { recursive: true, force: true });
  }
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
