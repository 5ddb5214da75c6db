import { basename } from 'node:path';
import { makeBed } from '../support/postgres/bed.ts';
import { type Cluster, makeCluster } from '../support/postgres/cluster.ts';
import { judge } from '../support/postgres/judge.ts';
import { take } from '../support/postgres/take.ts';
import { startWorkload } from '../support/postgres/workload.ts';
import { between, type Scene, type Stage } from './scene.ts';

/** How many snapshots are taken by each recipe. */
const rounds = 30;

/**
 * Snapshots of PostgreSQL while other processes commit, at any distance from checkpoints and each other: of each a copy is started and
 * judged.
 */
export const postgres: Scene = {
  name: 'postgres',
  async play(stage: Stage) {
    // Only its own subvolumes are used so far, and xfs has no snapshots.
    if (stage.driver !== 'btrfs') return;
    const bed = stage.owned.use(makeBed());
    stage.evidence.image = bed.file;
    for (const [layout, values] of layouts) {
      await using cluster = await makeCluster(bed, { layout, settings: { checkpoint_timeout: '30s' } });
      await using workload = await startWorkload(cluster);
      for (let round = 0; round < rounds; round++) {
        for (const value of values) {
          stage.evidence.plan = { layout, value, round };
          await workload.goOn(between(stage.random, 1, 400));
          const acknowledged = workload.acknowledged();
          const { copies } = await take(bed, value, cluster.scope(), disturbance(stage, cluster));
          const { recoveryMilliseconds } = await judge(bed, cluster, copies, acknowledged);
          for (const copy of Object.values(copies)) bed.remove(basename(copy));
          stage.count(`${layout} ${value}`);
          stage.count('recovery, ms', Math.round(recoveryMilliseconds));
        }
      }
    }
  },
};

const layouts = [
  ['together', ['pg,recipe=atomic', 'pg,recipe=checkpoint', 'pg,recipe=backup']],
  ['split', ['pg']],
] as const;

/** What may happen at the worst moment, and must not matter. */
function disturbance({ random }: Stage, cluster: Cluster): Parameters<typeof take>[3] {
  const done = async (statement: string): Promise<void> => void (await cluster.query(statement));
  const choice = random();
  if (choice < 0.2) return { prepared: () => done('CHECKPOINT') };
  if (choice < 0.4) return { prepared: () => done('SELECT pg_switch_wal()') };
  if (choice < 0.5) return { held: () => done('CHECKPOINT') };
  return {};
}
