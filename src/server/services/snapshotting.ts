import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { SnapshotSchema } from '../../api/generated/coppice/v1/resources_pb.ts';
import {
  RollbackResponseSchema,
  SnapshotGroupResponseSchema,
  type VolumeService,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { snapshotName, volumeName } from '../../api/resource-names.ts';
import type { SnapshotSummary } from '../../engine/operations/list.ts';
import type { SnapshotGroup } from '../../engine/operations/snapshot-together.ts';
import { once, poolFor, type ServerContext, servedPool } from '../context.ts';
import { toSnapshot } from '../convert.ts';
import { toBlocker } from '../failures.ts';
import type { PoolIndex } from '../pools/pool-index.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { durabilityField, ifThere, markField } from './changing-volumes.ts';
import { takeStill } from './hypervisors.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, referenceIn, volumeIn } from './naming.ts';

type Snapshotting = Pick<ServiceImpl<typeof VolumeService>, 'snapshot' | 'snapshotGroup' | 'rollback'>;

/** What takes snapshots, and goes back to them. */
export function snapshotting(context: ServerContext): Snapshotting {
  return {
    snapshot(request, handler) {
      const volume = volumeIn(request.parent);
      const served = servedPool(context, poolIn(request.parent));
      return once(context, handler, request, {
        response: SnapshotSchema,
        async find(mark) {
          const found = await findSnapshot(served, volume, mark);
          return found && toSnapshot(served.id, found);
        },
        async run({ mark, done }) {
          const own = poolFor(served, handler);
          const snapshot = await served.change(
            [volume],
            async () => {
              const taken = await takeStill(context, handler, request.freeze, own, (claims) =>
                own.snapshot(volume, {
                  ...nameField(request.snapshotId),
                  ...markField(mark),
                  ...durabilityField(request.durability),
                  ...claims,
                }),
              );
              done();
              return summaryOf(served, taken);
            },
            (summary, index) => addSnapshot(index, volume, summary),
          );
          return toSnapshot(served.id, snapshot);
        },
      });
    },

    snapshotGroup(request, handler) {
      const served = servedPool(context, poolIn(request.parent));
      requireOfPool(request.volumes, 'volumes', served.id);
      const volumes = request.volumes.map(volumeIn);
      return once(context, handler, request, {
        response: SnapshotGroupResponseSchema,
        async find(mark) {
          const found = await Promise.all(volumes.map((volume) => findSnapshot(served, volume, mark)));
          if (!found.every((each) => each !== undefined)) return undefined;
          const snapshots = found.map((each) => toSnapshot(served.id, each));
          return create(SnapshotGroupResponseSchema, { group: found[0]?.group ?? '', snapshots });
        },
        async run({ mark, done }) {
          const { group, snapshots } = await served.change(
            volumes,
            async () => {
              const taken = await poolFor(served, handler).snapshot(volumes, {
                ...nameField(request.snapshotId),
                ...markField(mark),
                ...durabilityField(request.durability),
              });
              done();
              const each = taken.snapshots.map((one) => summaryOf(served, one, taken.group));
              return { group: taken, snapshots: await Promise.all(each) };
            },
            ({ snapshots: all }, index) => {
              for (const each of all) addSnapshot(index, volumeOf(each), each);
            },
          );
          return create(SnapshotGroupResponseSchema, {
            group: group.group,
            snapshots: snapshots.map((each) => toSnapshot(served.id, each)),
            apart: durationOf(group),
            sameInstant: group.sameInstant,
          });
        },
      });
    },

    rollback(request, handler) {
      const reference = referenceIn(request.name);
      const volume = volumeIn(request.name);
      const served = servedPool(context, poolIn(request.name));
      const answer = { volume: volumeName(served.id, volume) };
      return once(context, handler, request, {
        response: RollbackResponseSchema,
        async find(mark) {
          const kept = request.validateOnly ? undefined : await findSnapshot(served, volume, mark);
          return (
            kept &&
            create(RollbackResponseSchema, { ...answer, undo: snapshotName(served.id, volume, kept.name) })
          );
        },
        async run({ mark }) {
          const options = { force: request.force, dryRun: request.validateOnly, ...markField(mark) };
          const roll = (): ReturnType<ServedPool['pool']['rollback']> =>
            poolFor(served, handler).rollback(reference, {
              ...options,
              ...durabilityField(request.durability),
            });
          const {
            undo,
            blockers = [],
            warnings = [],
          } = await (request.validateOnly ? roll() : served.change([volume], roll));
          const [, kept] = undo?.split('@', 2) ?? [];
          return create(RollbackResponseSchema, {
            ...answer,
            ...(kept !== undefined && { undo: snapshotName(served.id, volume, kept) }),
            blockers: blockers.map(toBlocker),
            warnings: [...warnings],
          });
        },
      });
    },
  };
}

type Taken = SnapshotGroup['snapshots'][number];

/** With what only the storage knows of it, such as its size. It is taken: that it can't be looked at, or is gone again, is no failure. */
async function summaryOf(served: ServedPool, taken: Taken, group?: string): Promise<SnapshotSummary> {
  const { reference, name, created, consistency } = taken;
  const details = await served.pool.show(reference).catch(() => undefined);
  const known = {
    reference,
    name,
    created,
    consistency,
    reason: 'user',
    ...(group !== undefined && { group }),
  } as const;
  return details?.snapshotList[0] ?? known;
}

function volumeOf({ reference }: SnapshotSummary): string {
  return reference.slice(0, reference.indexOf('@'));
}

function addSnapshot(index: PoolIndex, name: string, snapshot: SnapshotSummary): void {
  const entry = index.get(name);
  if (!entry) return;
  const snapshots = [...entry.snapshots, snapshot];
  index.set(name, { volume: { ...entry.volume, snapshots: snapshots.length }, snapshots });
}

async function findSnapshot(
  served: ServedPool,
  volume: string,
  mark: string,
): Promise<SnapshotSummary | undefined> {
  const details = await ifThere(() => served.pool.show(volume));
  return details?.snapshotList.find((snapshot) => snapshot.request === mark);
}

function nameField(name: string): { readonly name?: string } {
  return name === '' ? {} : { name };
}

function durationOf({ apartMilliseconds }: SnapshotGroup): {
  readonly seconds: bigint;
  readonly nanos: number;
} {
  const seconds = Math.floor(apartMilliseconds / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((apartMilliseconds - seconds * 1000) * 1e6) };
}
