import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { type Snapshot, SnapshotSchema } from '../../api/generated/coppice/v1/resources_pb.ts';
import type { VolumeService } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { Pool } from '../../engine/pool.ts';
import { once, poolFor, type Repeatable, type ServerContext, servedPool } from '../context.ts';
import { aboutField } from '../failures.ts';
import { durabilityField } from './changing-volumes.ts';
import { shownSnapshot } from './looking.ts';
import { poolIn, referenceIn, volumeIn } from './naming.ts';

/** Has snapshots stay, and go again. */
export function holding(
  context: ServerContext,
): Pick<ServiceImpl<typeof VolumeService>, 'holdSnapshot' | 'releaseSnapshot'> {
  const mark = (
    request: Repeatable & { readonly name: string },
    handler: HandlerContext,
    change: (pool: Pool, reference: string) => Promise<unknown>,
  ): Promise<Snapshot> => {
    const reference = referenceIn(request.name);
    const served = servedPool(context, poolIn(request.name));
    return once(context, handler, request, {
      response: SnapshotSchema,
      // What is held already keeps its time, and what is not held stays so: to do it again does no harm.
      find: async () => undefined,
      async run({ done }) {
        await served.change([volumeIn(request.name)], () => change(poolFor(served, handler), reference));
        done();
        return shownSnapshot(served, reference);
      },
    });
  };

  return {
    holdSnapshot(request, handler) {
      const options = {
        ...(request.reason !== '' && { reason: request.reason }),
        ...durabilityField(request.durability),
      };
      return aboutField('reason', () =>
        mark(request, handler, (pool, reference) => pool.hold(reference, options)),
      );
    },

    releaseSnapshot(request, handler) {
      const options = durabilityField(request.durability);
      return mark(request, handler, (pool, reference) => pool.release(reference, options));
    },
  };
}
