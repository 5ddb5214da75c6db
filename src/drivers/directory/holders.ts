import { findHolders } from '../../linux/holders.ts';
import { readMounts } from '../../linux/mounts.ts';
import type { Held, Holders, MountedPart, Place } from '../driver.ts';
import { probeDisk } from './disk.ts';
import { diskPath, type HeldDirectory, treeName } from './places.ts';

/** The kernel says whether a disk is open; only then all processes are looked through for who it is. */
export function holdersOf(held: readonly HeldDirectory[], pool: string): Holders {
  const disks = held.flatMap((entry) => probeDisk(entry.fd, pathOf(entry, pool)) ?? []);
  const suspects = disks.filter((disk) => disk.openElsewhere !== false);
  if (suspects.length === 0) return { holders: [], complete: true };
  const { holders, complete } = findHolders(suspects);
  const unseen = suspects.filter(
    (disk) => disk.openElsewhere && !holders.some((holder) => holder.path === disk.path),
  );
  return {
    holders,
    complete: unseen.length === 0 && (complete || suspects.every((disk) => disk.openElsewhere)),
  };
}

/** What is mounted somewhere in these places. */
export function mountsOn(held: readonly Held[], pool: string): MountedPart[] {
  const places = held.map((entry) => `${pool}/${placePath(entry.place)}/`);
  return readMounts()
    .filter(({ mountPoint }) => places.some((place) => mountPoint.startsWith(place)))
    .map(({ mountPoint, source }) => ({ path: mountPoint, source }));
}

/** The path of the disk in a place. */
export function pathOf({ place }: Held, pool: string): string {
  return `${pool}/${placePath(place)}/${diskPath}`;
}

/** The path of the tree in a place. */
export function treePath({ place }: Held, pool: string): string {
  return `${pool}/${placePath(place)}/${treeName}`;
}

/** From the pool's own directory. */
export function placePath(place: Place): string {
  switch (place.area) {
    case 'volumes':
      return `volumes/${place.name}`;
    case 'snapshots':
      return `${placePath(place.volume.place)}/snapshots/${place.name}`;
    case 'pool':
      return '';
    default:
      return `.${place.area}/${place.id}`;
  }
}
