import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { skippedWithout } from '../support/needs.ts';
import { type Bed, makeBed } from '../support/postgres/bed.ts';
import { type Cluster, makeCluster } from '../support/postgres/cluster.ts';
import { judge } from '../support/postgres/judge.ts';
import { pgbench, postgresPrograms } from '../support/postgres/programs.ts';
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

    test.each(['pg', 'pg,recipe=atomic', 'pg,recipe=checkpoint', 'pg,recipe=backup'])(
      '%s keeps all that was acknowledged',
      async (value) => {
        await workload.goOn();
        const acknowledged = workload.acknowledged();
        const { copies, state } = await take(bed, value, cluster.scope());
        const judgement = await judge(bed, cluster, copies, acknowledged);
        expect(judgement.checksums).toBe('passed');
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
      expect(judgement.checksums).toBe('passed');
    });
  });
});
