import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { skippedWithout } from '../support/needs.ts';
import { assemble } from '../support/postgres/assemble.ts';
import { type Bed, makeBed } from '../support/postgres/bed.ts';
import { type Cluster, makeCluster } from '../support/postgres/cluster.ts';
import { judge } from '../support/postgres/judge.ts';
import { pgbench, postgresPrograms, verified } from '../support/postgres/programs.ts';
import { take } from '../support/postgres/take.ts';
import { startWorkload, type Workload } from '../support/postgres/workload.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'), pgbench());

/** Snapshots while others commit, by other processes; a server is started on a copy of each. `npm run torture` takes many more. */
describe.skipIf(skipped !== '')(`snapshots of a cluster under load${skipped}`, () => {
  let bed: Bed;
  beforeAll(() => {
    bed = makeBed();
  });
  afterAll(() => bed?.[Symbol.dispose]());

  describe('all in one subvolume', () => {
    let cluster: Cluster;
    let workload: Workload;
    beforeAll(async () => {
      cluster = await makeCluster(bed);
      workload = await startWorkload(cluster);
    });
    afterAll(async () => {
      await workload?.[Symbol.asyncDispose]();
      await cluster?.[Symbol.asyncDispose]();
    });

    test.each(['pg', 'pg,recipe=checkpoint', 'pg,recipe=backup'])(
      '%s keeps all that was acknowledged',
      async (value) => {
        await workload.goOn();
        const acknowledged = workload.acknowledged();
        const { copies } = await take(bed, value, cluster.scope());
        const judgement = await judge(bed, cluster, copies, acknowledged);
        expect(judgement.checksums).toBe(verified());
      },
    );
  });

  describe('the WAL and a tablespace in other subvolumes', () => {
    let cluster: Cluster;
    let workload: Workload;
    beforeAll(async () => {
      cluster = await makeCluster(bed, { layout: 'split' });
      workload = await startWorkload(cluster);
    });
    afterAll(async () => {
      await workload?.[Symbol.asyncDispose]();
      await cluster?.[Symbol.asyncDispose]();
    });

    test('a backup keeps all that was acknowledged', async () => {
      await workload.goOn();
      const acknowledged = workload.acknowledged();
      const { copies, state } = await take(bed, 'pg', cluster.scope());
      expect(existsSync(join(copies['db'] ?? '', 'pg/backup_label'))).toBe(true);
      const judgement = await judge(bed, cluster, copies, acknowledged);
      expect(judgement.checksums).toBe(verified());
      expect(await cluster.query('SELECT * FROM pg_replication_slots')).toEqual([]);
      expect(state.details).toMatchObject({
        recipe: 'backup',
        pg_wal: `copied from ${cluster.wal}/wal`,
        why: `pg_wal is at ${cluster.wal}/wal`,
      });
    });

    /** So that those above say something: what is wrong is found. */
    describe('plain snapshots, each in its turn, are found to be broken', () => {
      test('with the WAL of before a checkpoint there is nothing to start from', async () => {
        const wal = bed.copy(cluster.wal ?? '', 'old-wal');
        await workload.goOn();
        const acknowledged = workload.acknowledged();
        // So much WAL that the old one has none of what is wanted now.
        await cluster.query('SELECT pg_switch_wal()');
        await cluster.query('CHECKPOINT');
        const db = bed.copy(cluster.volume, 'old-wal-db');
        const space = bed.copy(cluster.far ?? '', 'old-wal-space');
        assemble(db);
        await expect(judge(bed, cluster, { db, space, wal }, acknowledged)).rejects.toThrow(
          /could not locate a valid checkpoint record|invalid.*checkpoint record/,
        );
      });

      test('a tablespace of before a checkpoint lacks rows, although the server starts', async () => {
        const space = bed.copy(cluster.far ?? '', 'old-space');
        await workload.goOn(1000);
        await workload.stop();
        const acknowledged = workload.acknowledged();
        await cluster.query('CHECKPOINT');
        const db = bed.copy(cluster.volume, 'old-space-db');
        const wal = bed.copy(cluster.wal ?? '', 'old-space-wal');
        assemble(db);
        await expect(judge(bed, cluster, { db, space, wal }, acknowledged)).rejects.toThrow('is damaged:');
      });
    });
  });
});
