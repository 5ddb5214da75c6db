import { SystemError } from '../../linux/libc.ts';
import type { SnapshotMember } from '../driver.ts';
import { metadataProperty } from './layout.ts';
import { required, takeAllFlushed } from './make.ts';
import { encodeProperty } from './metadata.ts';
import type { HeldDataset, Places } from './places.ts';

/** Snapshots of several volumes in one transaction group, each with its own metadata. */
export function snapshotTogether(places: Places, members: readonly SnapshotMember[]): void {
  const wanted = new Map(
    members.map(({ volume, name, metadata }) => [
      `${required(volume as HeldDataset)}@${name}`,
      { [metadataProperty]: encodeProperty(metadata) },
    ]),
  );
  for (const { volume, name } of members) {
    if (places.exists({ area: 'snapshots', volume, name })) throw taken(name);
  }
  takeAllFlushed(wanted);
}

const eexist = 17;

function taken(name: string): SystemError {
  return new SystemError(eexist, 'snapshot', name);
}
