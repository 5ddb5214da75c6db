import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { checkCopy } from '../../../src/consistency/postgres/check-copy.ts';
import { startCopy } from '../../../src/consistency/postgres/start-copy.ts';
import type { Bed } from './bed.ts';
import { type Cluster, ownDirectory } from './cluster.ts';
import { postgresPrograms } from './programs.ts';

export interface Judgement {
  readonly recoveryMilliseconds: number;
  readonly structure: string;
  readonly checksums: string;
}

let count = 0;

/**
 * Starts a server on a copy of the copies, and fails unless it recovers, the money of pgbench adds up, every number is there that was
 * acknowledged before the snapshot, and structure and checksums are right.
 */
export async function judge(
  bed: Bed,
  cluster: Cluster,
  copies: Readonly<Record<string, string>>,
  acknowledged: readonly number[],
): Promise<Judgement> {
  const names = Object.keys(copies).map((volume) => [volume, `judged${++count}-${volume}`] as const);
  const clones: Record<string, string> = {};
  const socketDirectory = join(bed.scratch, 'sockets', `judge${++count}`);
  ownDirectory(socketDirectory, cluster.owner);
  try {
    for (const [volume, name] of names) clones[volume] = bed.copy(copies[volume] ?? '', name);
    const { db = '', ...volumes } = clones;
    await using copy = await startCopy(db, {
      below: 'pg',
      socketDirectory,
      volumes,
      formerly: [cluster.volume],
      programs: postgresPrograms(),
      timeoutMilliseconds: 60_000,
    });
    const tables = cluster.far === undefined ? ['near'] : ['near', 'far'];
    return await checkCopy(copy, {
      sql: [
        money,
        ...tables.map((table) => contains(table, acknowledged)),
        ...(tables.length > 1 ? ['SELECT NOT EXISTS (SELECT n FROM near EXCEPT SELECT n FROM far)'] : []),
        ...(tables.length > 1 ? ['SELECT NOT EXISTS (SELECT n FROM far EXCEPT SELECT n FROM near)'] : []),
      ],
    });
  } finally {
    for (const [volume, name] of names) if (clones[volume] !== undefined) bed.remove(name);
    rmSync(socketDirectory, { recursive: true });
  }
}

/** The tables themselves are read, and not an index that may be right where they are not. */
export const money = `
  SELECT a = b AND a = t AND a = h
    FROM (SELECT sum(abalance) AS a FROM pgbench_accounts) AS accounts,
         (SELECT sum(bbalance) AS b FROM pgbench_branches) AS branches,
         (SELECT sum(tbalance) AS t FROM pgbench_tellers) AS tellers,
         (SELECT coalesce(sum(delta), 0) AS h FROM pgbench_history) AS history`;

export function contains(table: string, numbers: readonly number[]): string {
  const list = numbers.length === 0 ? '' : numbers.join(',');
  return `SELECT NOT EXISTS (SELECT unnest('{${list}}'::bigint[]) EXCEPT SELECT n + 0 FROM ${table})`;
}
