import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import {
  type BatchDeleteRequest,
  type BatchDeleteResponse,
  BatchDeleteResponseSchema,
  DeleteSnapshotResponseSchema,
  DeleteVolumeResponseSchema,
  type VolumeService,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { Removed } from '../../engine/operations/remove.ts';
import { once, poolFor, type Repeatable, type ServerContext, servedPool } from '../context.ts';
import { toResourceName } from '../convert.ts';
import { toBlocker } from '../failures.ts';
import type { PoolIndex } from '../pools/pool-index.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { durabilityField, ifThere } from './changing-volumes.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, referenceIn } from './naming.ts';

type Removing = Pick<ServiceImpl<typeof VolumeService>, 'deleteVolume' | 'deleteSnapshot' | 'batchDelete'>;

type Request = Repeatable &
  Pick<BatchDeleteRequest, 'force' | 'allowMissing' | 'validateOnly' | 'durability'> & {
    readonly withSnapshots?: boolean;
  };

/** What removes volumes and snapshots. The three methods answer the same. */
export function removing(context: ServerContext): Removing {
  return {
    async deleteVolume(request, handler) {
      const { name } = request;
      const answer = await remove(context, handler, request, poolIn(name), [referenceIn(name)]);
      return create(DeleteVolumeResponseSchema, fieldsOf(answer));
    },
    async deleteSnapshot(request, handler) {
      const { name } = request;
      const answer = await remove(context, handler, request, poolIn(name), [referenceIn(name)]);
      return create(DeleteSnapshotResponseSchema, fieldsOf(answer));
    },
    batchDelete(request, handler) {
      const pool = poolIn(request.parent);
      requireOfPool(request.names, 'names', pool);
      return remove(context, handler, request, pool, request.names.map(referenceIn));
    },
  };
}

function remove(
  context: ServerContext,
  handler: HandlerContext,
  request: Request,
  pool: string,
  references: readonly string[],
): Promise<BatchDeleteResponse> {
  const served = servedPool(context, pool);
  const run = (): Promise<Removed> =>
    poolFor(served, handler).remove(references, {
      withSnapshots: request.withSnapshots ?? false,
      force: request.force,
      ifExists: request.allowMissing,
      dryRun: request.validateOnly,
      ...durabilityField(request.durability),
    });
  return once(context, handler, request, {
    response: BatchDeleteResponseSchema,
    async find(_, noted) {
      if (noted === '') return undefined;
      const before = new Map(Object.entries(JSON.parse(noted) as Record<string, string>));
      const present = await identities(served, [...before.keys()]);
      const isGone = [...before].every(([reference, identity]) => present.get(reference) !== identity);
      return isGone ? answerOf(pool, { removed: [...before.keys()], snapshots: [] }) : undefined;
    },
    async run({ note }) {
      if (request.validateOnly) return answerOf(pool, await run());
      // Who comes back after a crash is told by this whether they are gone: others may have taken their names.
      await note(async () => JSON.stringify(Object.fromEntries(await identities(served, references))));
      const names = new Set(references.map((reference) => reference.split('@', 1)[0] ?? ''));
      const result = await served.change([...names], run, forget);
      await served.alsoChanged(result.removed.filter((each) => !names.has(each.split('@', 1)[0] ?? '')));
      return answerOf(pool, result);
    },
  });
}

function answerOf(
  pool: string,
  { removed, snapshots, blockers = [], warnings = [] }: Removed,
): BatchDeleteResponse {
  return create(BatchDeleteResponseSchema, {
    removed: [...removed, ...snapshots].map((each) => toResourceName(pool, each)),
    blockers: blockers.map(toBlocker),
    warnings: [...warnings],
  });
}

function fieldsOf({
  removed,
  blockers,
  warnings,
}: BatchDeleteResponse): Pick<BatchDeleteResponse, 'removed' | 'blockers' | 'warnings'> {
  return { removed, blockers, warnings };
}

/** What tells each from another of the same name; of what is not there, nothing. */
async function identities(
  served: ServedPool,
  references: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const found = await Promise.all(
    references.map(async (reference) => {
      const details = await ifThere(() => served.pool.show(reference));
      const identity = reference.includes('@') ? details?.snapshotList[0]?.created : details?.id;
      return [reference, identity] as const;
    }),
  );
  return new Map(
    found.flatMap(([reference, identity]) => (identity === undefined ? [] : [[reference, identity]])),
  );
}

function forget({ removed }: Removed, index: PoolIndex): void {
  for (const reference of removed) {
    const [name = '', snapshot] = reference.split('@', 2);
    const entry = index.get(name);
    if (snapshot === undefined) index.delete(name);
    else if (entry) {
      const snapshots = entry.snapshots.filter((each) => each.name !== snapshot);
      index.set(name, { volume: { ...entry.volume, snapshots: snapshots.length }, snapshots });
    }
  }
}
