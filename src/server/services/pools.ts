import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  CheckPoolResponseSchema,
  DiagnoseResponseSchema,
  GetStatsResponseSchema,
  GrowPoolResponseSchema,
  ListPoolsResponseSchema,
  ListTombstonesResponseSchema,
  type PoolService,
  SyncPoolResponseSchema,
  TombstoneReason,
  TombstoneSchema,
} from '../../api/generated/coppice/v1/pool_service_pb.ts';
import { type Pool, PoolSchema, PoolState } from '../../api/generated/coppice/v1/resources_pb.ts';
import { poolName } from '../../api/resource-names.ts';
import { mayUse } from '../auth/caller.ts';
import { callerOf, type ServerContext, servedPool } from '../context.ts';
import { timeField, toFinding, toPoolSpace } from '../convert.ts';
import { aboutField } from '../failures.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { poolIn } from './naming.ts';
import { pageOf } from './paging.ts';
import { policies } from './policies.ts';

/** Pools as a whole. */
export function poolService(context: ServerContext): ServiceImpl<typeof PoolService> {
  return {
    ...policies(context),

    listPools({ pageSize, pageToken }, handler) {
      const caller = callerOf(handler);
      const served = [...context.pools.values()].filter((each) => mayUse(caller, each.id));
      const listing = { of: 'pools', keyOf: ({ id }: ServedPool) => id };
      const { items, nextPageToken } = pageOf(served, listing, pageSize, pageToken);
      return create(ListPoolsResponseSchema, { pools: items.map(stateOf), nextPageToken });
    },

    async getPool({ name }) {
      const served = servedPool(context, poolIn(name));
      if (!served.isAvailable) return stateOf(served);
      const described = await served.pool.describe();
      return Object.assign(stateOf(served), {
        uid: described.id,
        driver: described.driver,
        ...timeField('createTime', described.created),
        space: toPoolSpace(described.space),
        templateCount: described.templates,
        volumeCount: described.volumes,
        snapshotCount: described.snapshots,
        tombstoneCount: described.tombstones,
        capabilities: Object.entries(described.capabilities).map(([capability, has]) => ({
          $typeName: 'coppice.v1.Capability',
          name: capability,
          available: has === true,
          reason: has === true ? '' : has,
        })),
      } satisfies Partial<Pool>);
    },

    async getStats({ name }) {
      const { space } = await servedPool(context, poolIn(name)).pool.vitals();
      const { totalBytes, freeBytes, compressRatio, host } = space;
      const available = host
        ? Math.min(freeBytes, Math.max(0, host.freeBytes - host.reserveBytes))
        : freeBytes;
      return create(GetStatsResponseSchema, {
        usedBytes: BigInt(totalBytes - freeBytes),
        availableBytes: BigInt(available),
        ...(compressRatio !== undefined && { compressRatio }),
        space: toPoolSpace(space),
      });
    },

    async growPool({ name, sizeBytes }, handler) {
      const { inventory } = servedPool(context, poolIn(name));
      const { principal, requestId } = callerOf(handler);
      const grown = await aboutField('size_bytes', () =>
        inventory.growPool(Number(sizeBytes), {
          auditLog: context.auditLog,
          program: 'daemon',
          by: { principal, requestId },
        }),
      );
      return create(GrowPoolResponseSchema, {
        sizeBytes: BigInt(grown.bytes),
        previousSizeBytes: BigInt(grown.previousBytes),
      });
    },

    async syncPool({ name }) {
      await servedPool(context, poolIn(name)).pool.sync();
      return create(SyncPoolResponseSchema);
    },

    async checkPool({ name }) {
      const findings = await servedPool(context, poolIn(name)).inventory.check();
      return create(CheckPoolResponseSchema, { findings: findings.map(toFinding) });
    },

    async diagnose({ name }) {
      const { findings } = await servedPool(context, poolIn(name)).inventory.diagnose();
      return create(DiagnoseResponseSchema, { findings: findings.map(toFinding) });
    },

    async listTombstones({ parent, pageSize, pageToken }) {
      const all = await servedPool(context, poolIn(parent)).pool.tombstones();
      const { items, nextPageToken } = pageOf(
        all,
        { of: `${parent} tombstones`, keyOf: ({ id }) => id },
        pageSize,
        pageToken,
      );
      const tombstones = items.map(({ id, name = '', removed, reason, neededBy, heldBytes }) =>
        create(TombstoneSchema, {
          id,
          volumeId: name,
          ...timeField('removeTime', removed),
          reason: tombstoneReasons[reason],
          neededBy: [...neededBy],
          ...(heldBytes !== undefined && { heldBytes: BigInt(heldBytes) }),
        }),
      );
      return create(ListTombstonesResponseSchema, { tombstones, nextPageToken });
    },
  };
}

const tombstoneReasons = {
  clearing: TombstoneReason.CLEARING,
  lineage: TombstoneReason.LINEAGE,
  needed: TombstoneReason.NEEDED,
} as const;

/** What is known of a pool without asking it. */
export function stateOf(served: ServedPool): Pool {
  return create(PoolSchema, {
    name: poolName(served.id),
    path: served.path,
    state: served.isAvailable ? PoolState.AVAILABLE : PoolState.UNAVAILABLE,
    unavailableReason: served.unavailableReason ?? '',
  });
}
