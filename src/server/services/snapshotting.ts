import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Snapshot, SnapshotSchema } from '../../api/generated/coppice/v1/resources_pb.ts';
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
        async run({ mark }) {
          const taken = await served.change(
            [volume],
            () => {
              const own = poolFor(served, handler);
              return takeStill(context, handler, request.freeze, own, (claims) =>
                own.snapshot(volume, {
                  ...nameField(request.snapshotId),
                  ...markField(mark),
                  ...durabilityField(request.durability),
                  ...claims,
                }),
              );
            },
            (result, index) => addSnapshot(index, volume, summaryOf(result, mark)),
          );
          return await answerOf(served, volume, summaryOf(taken, mark));
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
        async run({ mark }) {
          const group = await served.change(
            volumes,
            () =>
              poolFor(served, handler).snapshot(volumes, {
                ...nameField(request.snapshotId),
                ...markField(mark),
                ...durabilityField(request.durability),
              }),
            ({ group: id, snapshots }, index) => {
              for (const each of snapshots)
                addSnapshot(index, each.volume, { ...summaryOf(each, mark), group: id });
            },
          );
          return create(SnapshotGroupResponseSchema, {
            group: group.group,
            snapshots: await Promise.all(
              group.snapshots.map((each) =>
                answerOf(served, each.volume, { ...summaryOf(each, mark), group: group.group }),
              ),
            ),
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

function summaryOf(taken: Taken, mark: string | undefined): SnapshotSummary {
  const { reference, name, created, consistency } = taken;
  return { reference, name, created, consistency, reason: 'user', ...markField(mark) };
}

function withSize(index: PoolIndex, volume: string, snapshot: SnapshotSummary): SnapshotSummary {
  const bytes = index.get(volume)?.volume.bytes;
  return bytes === undefined ? snapshot : { ...snapshot, bytes };
}

/** What was taken of a volume that the index does not know yet, because another process has just made it, has its size, too. */
async function answerOf(served: ServedPool, volume: string, snapshot: SnapshotSummary): Promise<Snapshot> {
  const sized = withSize(served.index, volume, snapshot);
  if (sized.bytes !== undefined) return toSnapshot(served.id, sized);
  const details = await ifThere(() => served.pool.show(volume));
  return toSnapshot(served.id, details?.snapshotList.find(({ name }) => name === snapshot.name) ?? snapshot);
}

function addSnapshot(index: PoolIndex, name: string, snapshot: SnapshotSummary): void {
  const entry = index.get(name);
  if (!entry) return;
  const snapshots = [...entry.snapshots, withSize(index, name, snapshot)];
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
