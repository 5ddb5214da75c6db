import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMember } from '../driver.ts';
import type { HeldDataset } from './held.ts';
import { metadataProperty } from './layout.ts';
import { required, takeAllFlushed, taken } from './make.ts';
import { encodeProperty } from './metadata.ts';
import type { Places } from './places.ts';

/** Snapshots of several volumes in one transaction group, each with its own metadata. */
export function snapshotTogether(places: Places, members: readonly SnapshotMember[]): void {
  const wanted = new Map(
    members.map(({ volume, name, metadata }) => [
      `${required(volume as HeldDataset)}@${name}`,
      { [metadataProperty]: encodeProperty(metadata) },
    ]),
  );
  const once = new Set(members.map(({ volume }) => required(volume as HeldDataset)));
  if (once.size < members.length)
    throw new CoppiceError(
      'unsupported',
      'ZFS takes one snapshot of a volume at the same instant; name each volume once, or take the others by themselves.',
    );
  for (const { volume, name } of members) {
    if (places.isOnBranch({ area: 'snapshots', volume, name })) throw taken('snapshot', name);
  }
  takeAllFlushed(places, wanted);
}
