import type { Listed, VolumeDetails } from '../../engine/operations/list.ts';

/** What a list tells of a volume, from what is known when it is looked at alone. */
export function listedFrom(details: VolumeDetails): Listed {
  const { name, type, kind, bytes, id, created, origin, at, snapshots, request, snapshotList } = details;
  const volume = {
    name,
    type,
    ...(kind && { kind }),
    ...(bytes !== undefined && { bytes }),
    ...(id !== undefined && { id }),
    ...(created !== undefined && { created }),
    ...(origin && { origin }),
    ...(at && { at }),
    snapshots,
    ...(request !== undefined && { request }),
  };
  return { volume, snapshots: snapshotList };
}
