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
import { toDuration, toSnapshot, toTakenSnapshot } from '../convert-snapshot.ts';
import { aboutField, toBlocker } from '../failures.ts';
import type { PoolIndex } from '../pools/pool-index.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { durabilityField, ifThere, markField } from './changing-volumes.ts';
import { takeStill } from './hypervisors.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, referenceIn, volumeIn } from './naming.ts';
import { requireOneLevel, wantedOf } from './wanted-snapshot.ts';

type Snapshotting = Pick<ServiceImpl<typeof VolumeService>, 'snapshot' | 'snapshotGroup' | 'rollback'>;

/** What takes snapshots, and goes back to them. */
export function snapshotting(context: ServerContext): Snapshotting {
  return {
    snapshot(request, handler) {
      requireOneLevel(request);
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
          const options = {
            ...wantedOf(request),
            ...nameField(request.snapshotId),
            ...markField(mark),
            ...durabilityField(request.durability),
          };
          const { taken, summary } = await served.change(
            [volume],
            async () => {
              const snapshot = await takeStill(context, handler, request.freeze, own, (claims) =>
                own.snapshot(volume, { ...options, ...claims }),
              );
              done();
              return { taken: snapshot, summary: await summaryOf(served, snapshot, options) };
            },
            ({ summary: added }, index) => addSnapshot(index, volume, added),
          );
          await served.alsoChanged(taken.with ?? []);
          return toTakenSnapshot(served.id, summary, taken);
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
          const options = {
            ...wantedOf(request),
            ...nameField(request.snapshotId),
            ...markField(mark),
            ...durabilityField(request.durability),
          };
          const { group, members } = await served.change(
            volumes,
            async () => {
              const taken = await poolFor(served, handler).snapshot(volumes, options);
              done();
              const each = taken.snapshots.map(async (one) => ({
                taken: { ...heldFor(taken), ...one },
                summary: await summaryOf(served, one, { ...options, group: taken.group }),
              }));
              return { group: taken, members: await Promise.all(each) };
            },
            ({ members: all }, index) => {
              for (const { summary } of all) addSnapshot(index, volumeOf(summary), summary);
            },
          );
          return create(SnapshotGroupResponseSchema, {
            group: group.group,
            snapshots: members.map(({ summary, taken }) => toTakenSnapshot(served.id, summary, taken)),
            apart: toDuration(group.apartMilliseconds),
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
          const options = {
            force: request.force,
            dryRun: request.validateOnly,
            stop: request.stop,
            ...markField(mark),
            ...durabilityField(request.durability),
          };
          // All else that could be wrong with the request was looked at.
          const roll = (): ReturnType<ServedPool['pool']['rollback']> =>
            aboutField('stop', () => poolFor(served, handler).rollback(reference, options));
          const {
            undo,
            blockers = [],
            warnings = [],
            with: others = [],
          } = await (request.validateOnly ? roll() : served.change([volume], roll));
          if (!request.validateOnly) await served.alsoChanged(others.map((each) => each.volume));
          const [, kept] = undo?.split('@', 2) ?? [];
          return create(RollbackResponseSchema, {
            ...answer,
            ...(kept !== undefined && { undo: snapshotName(served.id, volume, kept) }),
            blockers: blockers.map(toBlocker),
            warnings: [...warnings],
            withVolumes: others.map((each) => volumeName(served.id, each.volume)),
          });
        },
      });
    },
  };
}

type Taken = SnapshotGroup['snapshots'][number];

/** With what only the storage knows of it, such as its size. It is taken: that it can't be looked at, or is gone again, is no failure. */
async function summaryOf(
  served: ServedPool,
  taken: Taken,
  { group = '', expires }: { readonly group?: string; readonly expires?: string },
): Promise<SnapshotSummary> {
  const { reference, name, created, consistency, applications } = taken;
  const details = await served.pool.show(reference).catch(() => undefined);
  const known = {
    reference,
    name,
    created,
    consistency,
    reason: 'user',
    ...(applications && { applications }),
    ...(expires !== undefined && { expires }),
    ...(group !== '' && { group }),
  } as const;
  return details?.snapshotList[0] ?? known;
}

function heldFor({ heldMilliseconds }: SnapshotGroup): Pick<SnapshotGroup, 'heldMilliseconds'> {
  return heldMilliseconds === undefined ? {} : { heldMilliseconds };
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
