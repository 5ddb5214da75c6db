import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  Durability,
  type Volume,
  VolumeKind,
  VolumeSchema,
} from '../../api/generated/coppice/v1/resources_pb.ts';
import type { CreateVolumeRequest, VolumeService } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { volumeName } from '../../api/resource-names.ts';
import type { VolumeSummary } from '../../engine/operations/list.ts';
import { CoppiceError } from '../../model/errors.ts';
import { once, poolFor, type ServerContext, servedPool } from '../context.ts';
import { toDetailedVolume, toVolume } from '../convert.ts';
import { aboutField } from '../failures.ts';
import { listedFrom } from '../pools/listed.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { poolIn, referenceIn, volumeIn } from './naming.ts';

type ChangingVolumes = Pick<
  ServiceImpl<typeof VolumeService>,
  'createVolume' | 'clone' | 'seal' | 'renameVolume'
>;

/** What makes volumes, and gives them names. */
export function changingVolumes(context: ServerContext): ChangingVolumes {
  return {
    createVolume(request, handler) {
      const { parent, volumeId: name } = request;
      const served = servedPool(context, poolIn(parent));
      const { blockSizeBytes, nodatacowDirectories, owner, mode } = request;
      return aboutField(fieldOfCreation(request), () =>
        once(context, handler, request, {
          response: VolumeSchema,
          find: (mark) => findMarked(served, name, mark),
          run: ({ mark }) =>
            publish(served, name, async () => {
              const kind = request.kind === VolumeKind.TREE ? 'tree' : 'block';
              const created = await poolFor(served, handler).create(name, {
                kind,
                ...sizeField(request.sizeBytes),
                ...(blockSizeBytes > 0n && { blockBytes: Number(blockSizeBytes) }),
                ...(nodatacowDirectories.length > 0 && { nodatacow: nodatacowDirectories }),
                ...(owner !== '' && { owner }),
                ...(mode !== undefined && { mode }),
                ...markField(mark),
                ...durabilityField(request.durability),
              });
              return {
                name,
                type: 'volume',
                ...(kind === 'tree' && { kind }),
                bytes: created.bytes,
                id: created.id,
                created: created.created,
                snapshots: 0,
                ...markField(mark),
              };
            }),
        }),
      );
    },

    clone(request, handler) {
      const { source, volumeId: name } = request;
      const served = servedPool(context, poolIn(source));
      return aboutField('size_bytes', () =>
        once(context, handler, request, {
          response: VolumeSchema,
          find: (mark) => findMarked(served, name, mark),
          run: ({ mark }) =>
            publish(served, name, async () => {
              const cloned = await poolFor(served, handler).clone(referenceIn(source), name, {
                ...sizeField(request.sizeBytes),
                replicable: request.replicable,
                ...markField(mark),
                ...durabilityField(request.durability),
              });
              return {
                name,
                type: 'volume',
                ...(cloned.kind && { kind: cloned.kind }),
                bytes: cloned.bytes,
                id: cloned.id,
                created: cloned.created,
                origin: cloned.origin,
                snapshots: 0,
                ...markField(mark),
              };
            }),
        }),
      );
    },

    seal(request, handler) {
      const { source, volumeId: name } = request;
      const served = servedPool(context, poolIn(source));
      return once(context, handler, request, {
        response: VolumeSchema,
        find: (mark) => findMarked(served, name, mark),
        run: async ({ mark, done }) => {
          const options = { ...markField(mark), ...durabilityField(request.durability) };
          const details = await served.change(
            [name],
            async () => {
              await poolFor(served, handler).seal(referenceIn(source), name, options);
              done();
              return served.pool.show(name);
            },
            (sealed, index) => index.set(name, listedFrom(sealed)),
          );
          return toDetailedVolume(served.id, details);
        },
      });
    },

    renameVolume(request, handler) {
      const { name, volumeId: to } = request;
      const from = volumeIn(name);
      const served = servedPool(context, poolIn(name));
      return once(context, handler, request, {
        response: VolumeSchema,
        async find(_, id) {
          if (id === '') return undefined;
          const details = await ifThere(() => served.pool.show(to));
          if (details?.id === id) return toDetailedVolume(served.id, details);
          // It still has its old name, or has got yet another meanwhile: then what has the old one now is somebody else's.
          const before = await ifThere(() => served.pool.show(from));
          if (before?.id === id) return undefined;
          return create(VolumeSchema, { name: volumeName(served.id, to), uid: id });
        },
        async run({ note, done }) {
          await note(async () => (await served.pool.show(from)).id ?? '');
          const options = durabilityField(request.durability);
          await served.change(
            [from, to],
            () => poolFor(served, handler).rename(from, to, options),
            (_renamed, index) => index.rename(from, to),
          );
          done();
          return shown(served, to);
        },
      });
    },
  };
}

/** Which field of a request the storage has said something against. */
function fieldOfCreation({
  blockSizeBytes,
  nodatacowDirectories,
  owner,
  mode,
}: CreateVolumeRequest): (message: string) => string {
  return (message) => {
    if (blockSizeBytes > 0n && message.includes('block')) return 'block_size_bytes';
    if (nodatacowDirectories.length > 0 && /nodatacow|a directory in the tree/.test(message))
      return 'nodatacow_directories';
    const isAboutOwner = /owner|on this host/.test(message);
    if (owner !== '' && isAboutOwner) return 'owner';
    return mode !== undefined && isAboutOwner ? 'mode' : 'size_bytes';
  };
}

/** Makes something under a name, and puts it into the index as it is known to be. */
async function publish(
  served: ServedPool,
  name: string,
  make: () => Promise<VolumeSummary>,
): Promise<Volume> {
  const made = await served.change([name], make, (volume, index) =>
    index.set(name, { volume, snapshots: [] }),
  );
  return toVolume(served.id, made);
}

/** What an attempt has made that was interrupted. */
async function findMarked(served: ServedPool, name: string, mark: string): Promise<Volume | undefined> {
  const details = await ifThere(() => served.pool.show(name));
  if (details === undefined || details.request !== mark) return undefined;
  return toVolume(served.id, listedFrom(details).volume);
}

export async function shown(served: ServedPool, name: string): Promise<Volume> {
  return toDetailedVolume(served.id, await served.pool.show(name));
}

/** What something tells; undefined when it is not there. */
export async function ifThere<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'not_found') return undefined;
    throw error;
  }
}

export function markField(mark: string | undefined): { readonly request?: string } {
  return mark === undefined ? {} : { request: mark };
}

export function durabilityField(durability: Durability): { readonly durability?: 'deferred' } {
  return durability === Durability.DEFERRED ? { durability: 'deferred' } : {};
}

export function sizeField(bytes: bigint): { readonly bytes?: number } {
  return bytes === 0n ? {} : { bytes: Number(bytes) };
}
