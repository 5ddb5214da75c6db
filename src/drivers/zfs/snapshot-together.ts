import { hasErrno, SystemError } from '../../linux/libc.ts';
import { takeSnapshotsWith } from '../../linux/zfs-core.ts';
import type { SnapshotMember } from '../driver.ts';
import { metadataProperty } from './layout.ts';
import { required, stepAside } from './make.ts';
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
  try {
    takeSnapshotsWith(wanted);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
    const aside = [...wanted.keys()].filter((name) => stepAside(name));
    if (aside.length === 0) throw error;
    takeSnapshotsWith(wanted);
  }
}

const eexist = 17;

function taken(name: string): SystemError {
  return new SystemError(eexist, 'snapshot', name);
}
