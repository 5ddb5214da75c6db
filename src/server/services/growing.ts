import { create } from '@bufbuild/protobuf';
import { ConnectError, type ServiceImpl } from '@connectrpc/connect';
import {
  type GrowVolumeResponse,
  GrowVolumeResponseSchema,
  type VolumeService,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { CoppiceError } from '../../model/errors.ts';
import { once, poolFor, type ServerContext, servedPool } from '../context.ts';
import { toDetailedVolume } from '../convert.ts';
import { aboutField } from '../failures.ts';
import { durabilityField, shown } from './changing-volumes.ts';
import { notifierOf } from './hypervisors.ts';
import { poolIn, volumeIn } from './naming.ts';

/** Makes volumes larger, and tells who has them open. */
export function growing(context: ServerContext): Pick<ServiceImpl<typeof VolumeService>, 'growVolume'> {
  return {
    growVolume(request, handler) {
      const volume = volumeIn(request.name);
      const served = servedPool(context, poolIn(request.name));
      const bytes = Number(request.sizeBytes);
      const notify = notifierOf(context, handler, request.notify);
      const grow = async (done: () => void): Promise<GrowVolumeResponse> => {
        // Before anything grows.
        notify?.requireSafe();
        const grown = await served.change(
          [volume],
          () =>
            aboutField('size_bytes', () =>
              poolFor(served, handler).grow(volume, { bytes, ...durabilityField(request.durability) }),
            ),
          ({ bytes: size }, index) => index.resize(volume, size),
        );
        done();
        const notified =
          notify && (await notify.tell({ ...grown, path: await served.pool.diskPath(volume) }));
        return create(GrowVolumeResponseSchema, {
          volume: await shown(served, volume),
          previousSizeBytes: BigInt(grown.previousBytes),
          inUse: grown.inUse,
          loopDevices: [...grown.loopDevices],
          notified: notified?.told ?? '',
          guestSteps: [...(notified?.guestSteps ?? [])],
        });
      };
      return once(context, handler, request, {
        response: GrowVolumeResponseSchema,
        // To do it again does no harm, and tells the hypervisor; only the size before has to be remembered.
        async find(_, noted) {
          if (noted === '') return undefined;
          const present = await served.pool.show(volume);
          const previousSizeBytes = BigInt(noted);
          try {
            return create(GrowVolumeResponseSchema, { ...fieldsOf(await grow(() => {})), previousSizeBytes });
          } catch (error) {
            // Larger than that by now, because somebody has grown it again, and told of that.
            if (!isTooSmall(error) || (present.bytes ?? 0) <= bytes) throw error;
            return create(GrowVolumeResponseSchema, {
              volume: toDetailedVolume(served.id, present),
              previousSizeBytes,
            });
          }
        },
        async run({ note, done }) {
          await note(async () => String((await served.pool.show(volume)).bytes ?? 0));
          return grow(done);
        },
      });
    },
  };
}

function isTooSmall(error: unknown): boolean {
  return error instanceof ConnectError && error.cause instanceof CoppiceError;
}

function fieldsOf({
  $typeName,
  $unknown,
  ...fields
}: GrowVolumeResponse): Omit<GrowVolumeResponse, '$typeName' | '$unknown'> {
  return fields;
}
