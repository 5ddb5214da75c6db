import { create } from '@bufbuild/protobuf';
import { Code, type ServiceImpl } from '@connectrpc/connect';
import {
  type Snapshot,
  SnapshotSchema,
  VolumeSchema,
  VolumeType,
} from '../../api/generated/coppice/v1/resources_pb.ts';
import {
  GetUsageResponseSchema,
  LineageNodeSchema,
  ListLineageResponseSchema,
  ListSnapshotsResponseSchema,
  ListVolumesResponseSchema,
  type VolumeService,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { VolumeSummary } from '../../engine/operations/list.ts';
import { isName } from '../../model/names.ts';
import { type ServerContext, servedPool } from '../context.ts';
import { toDetailedVolume, toUsage, toVolume } from '../convert.ts';
import { toSnapshot } from '../convert-snapshot.ts';
import { badRequest, refused } from '../failures.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { masking } from './mask.ts';
import { poolIn, referenceIn, volumeIn } from './naming.ts';
import { badToken, decodeToken, encodeToken, numberIn, pageOf, pageSize } from './paging.ts';

type Looking = Pick<
  ServiceImpl<typeof VolumeService>,
  'getVolume' | 'listVolumes' | 'getSnapshot' | 'listSnapshots' | 'getUsage' | 'listLineage'
>;

/** What changes nothing. */
export function looking(context: ServerContext): Looking {
  return {
    async getVolume({ name, readMask }) {
      const masked = masking(VolumeSchema, readMask);
      const pool = poolIn(name);
      return masked(toDetailedVolume(pool, await servedPool(context, pool).pool.show(volumeIn(name))));
    },

    async listVolumes({ parent, pageToken, pageSize: asked, type, readMask }) {
      const masked = masking(VolumeSchema, readMask);
      const after = decodeToken(pageToken);
      if (after !== '' && !isName(after)) throw badToken();
      const pool = poolIn(parent);
      const served = servedPool(context, pool);
      await (after === '' ? served.refreshed() : served.indexed());
      const { volumes, isLast } = pageAfter(served, after, pageSize(asked), type);
      return create(ListVolumesResponseSchema, {
        volumes: volumes.map((volume) => masked(toVolume(pool, volume))),
        nextPageToken: isLast ? '' : encodeToken(volumes.at(-1)?.name ?? ''),
      });
    },

    async getSnapshot({ name }) {
      return await shownSnapshot(servedPool(context, poolIn(name)), referenceIn(name));
    },

    async listSnapshots({ parent, pageToken, pageSize: asked }) {
      const pool = poolIn(parent);
      const { snapshotList } = await servedPool(context, pool).pool.show(volumeIn(parent));
      const { items, nextPageToken } = pageOf(
        snapshotList,
        { of: parent, keyOf: ({ created = '', name: id }) => `${created} ${id}` },
        asked,
        pageToken,
      );
      return create(ListSnapshotsResponseSchema, {
        snapshots: items.map((each) => create(SnapshotSchema, toSnapshot(pool, each))),
        nextPageToken,
      });
    },

    async getUsage({ parent, names }) {
      const pool = poolIn(parent);
      requireOfPool(names, 'names', pool);
      const { usages } = await servedPool(context, pool).pool.usage(names.map(referenceIn));
      return create(GetUsageResponseSchema, { usages: usages.map((usage) => toUsage(pool, usage)) });
    },

    async listLineage({ parent, volume, pageToken, pageSize: asked }) {
      const pool = poolIn(parent);
      if (volume !== '') requireOfPool([volume], 'volume', pool);
      const from = numberIn(pageToken);
      const many = pageSize(asked);
      const of = volume === '' ? undefined : volumeIn(volume);
      const { nodes, total } = await servedPool(context, pool).inventory.lineage(of, from, many);
      return create(ListLineageResponseSchema, {
        nodes: nodes.map(({ id, name, type, parentId, fromSnapshot }) =>
          create(LineageNodeSchema, {
            uid: id,
            volumeId: name,
            type: lineageTypes[type],
            removed: type === 'removed',
            parentUid: parentId ?? '',
            parentSnapshotId: fromSnapshot ?? '',
          }),
        ),
        nextPageToken: from + many < total ? encodeToken(String(from + many)) : '',
      });
    },
  };
}

/** @throws ConnectError NOT_FOUND */
export async function shownSnapshot({ id, pool }: ServedPool, reference: string): Promise<Snapshot> {
  // Of a snapshot's reference it shows the volume with only that snapshot.
  const { snapshotList } = await pool.show(reference);
  const [snapshot] = snapshotList;
  if (snapshot) return toSnapshot(id, snapshot);
  throw refused(Code.NotFound, 'NOT_FOUND', `There is no snapshot ${reference}.`);
}

const lineageTypes = {
  template: VolumeType.TEMPLATE,
  volume: VolumeType.VOLUME,
  removed: VolumeType.UNSPECIFIED,
} as const;

/** @throws ConnectError INVALID_ARGUMENT */
export function requireOfPool(names: readonly string[], field: string, pool: string): void {
  const violations = names.flatMap((name, index) =>
    poolIn(name) === pool
      ? []
      : [
          {
            field: names.length > 1 ? `${field}[${index}]` : field,
            description: `is in another pool than ${pool}`,
          },
        ],
  );
  if (violations.length > 0) throw badRequest(violations);
}

const typesWanted: Readonly<Partial<Record<VolumeType, VolumeSummary['type']>>> = {
  [VolumeType.VOLUME]: 'volume',
  [VolumeType.TEMPLATE]: 'template',
  [VolumeType.FOREIGN]: 'foreign',
};

function pageAfter(
  { index }: ServedPool,
  after: string,
  size: number,
  type: VolumeType,
): { readonly volumes: readonly VolumeSummary[]; readonly isLast: boolean } {
  const wanted = typesWanted[type];
  const volumes: VolumeSummary[] = [];
  for (let last = after; ; ) {
    const entries = index.after(last, size + 1);
    for (const { volume } of entries) {
      if (wanted !== undefined && volume.type !== wanted) continue;
      if (volumes.length === size) return { volumes, isLast: false };
      volumes.push(volume);
    }
    if (entries.length <= size) return { volumes, isLast: true };
    last = entries.at(-1)?.volume.name ?? '';
  }
}
