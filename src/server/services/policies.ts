import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  ListPoliciesResponseSchema,
  type PolicyDecisionSchema,
  type PolicySchema,
  type PoolService,
  PreviewPoliciesResponseSchema,
} from '../../api/generated/coppice/v1/pool_service_pb.ts';
import { volumeName } from '../../api/resource-names.ts';
import type { VolumePolicy } from '../../engine/policy/policies.ts';
import { type ServerContext, servedPool } from '../context.ts';
import { timeField, toResourceName } from '../convert.ts';
import type { PreviewedDecision } from '../pools/inventory-worker.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, volumeIn } from './naming.ts';
import { encodeToken, numberIn, pageSize } from './paging.ts';

/** Which snapshots are taken and kept by themselves. */
export function policies(
  context: ServerContext,
): Pick<ServiceImpl<typeof PoolService>, 'listPolicies' | 'previewPolicies'> {
  return {
    async listPolicies({ parent, pageToken, pageSize: asked }) {
      const pool = poolIn(parent);
      const from = numberIn(pageToken);
      const many = pageSize(asked);
      const page = await servedPool(context, pool).inventory.policies(from, many);
      return create(ListPoliciesResponseSchema, {
        policies: page.policies.map((each) => toPolicy(pool, each)),
        nextPageToken: from + many < page.total ? encodeToken(String(from + many)) : '',
      });
    },

    async previewPolicies({ parent, volumes, pageToken, pageSize: asked }) {
      const pool = poolIn(parent);
      requireOfPool(volumes, 'volumes', pool);
      const from = numberIn(pageToken);
      const many = pageSize(asked);
      const wanted = volumes.map(volumeIn);
      const page = await servedPool(context, pool).inventory.preview(wanted, from, many);
      return create(PreviewPoliciesResponseSchema, {
        decisions: page.decisions.map((each) => toDecision(pool, each)),
        nextPageToken: from + many < page.total ? encodeToken(String(from + many)) : '',
        warnings: [...page.warnings],
      });
    },
  };
}

function toPolicy(pool: string, policy: VolumePolicy): MessageInitShape<typeof PolicySchema> {
  return {
    volume: volumeName(pool, policy.volume),
    settings: { ...policy.settings },
    schedule: policy.schedule ?? '',
    keeps: policy.keeps ?? '',
    snapshotCount: policy.snapshots,
    ...timeField('newestTime', policy.newest),
    due: policy.isDue,
    problem: policy.problem?.message ?? '',
  };
}

function toDecision(
  pool: string,
  { reference, created, goes, reasons, isPlanned, underPressure }: PreviewedDecision,
): MessageInitShape<typeof PolicyDecisionSchema> {
  return {
    snapshot: toResourceName(pool, reference),
    ...timeField('createTime', created),
    planned: isPlanned ?? false,
    goes,
    underPressure,
    reasons: [...reasons],
  };
}
