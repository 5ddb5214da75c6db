import type { Blocker } from '../../model/errors.ts';
import type { Look } from './look.ts';

/** What stands in the way of each of these, because another of them has its name or is the same file. */
export function clashesOf<T extends Look & { readonly name: string }>(
  disks: readonly T[],
): ReadonlyMap<T, Blocker> {
  const clashes = new Map<T, Blocker>();
  const add = (group: readonly T[], clash: (paths: string) => Blocker): void => {
    if (group.length < 2) return;
    const paths = group.map(({ entry }) => entry.label).sort();
    for (const disk of group) if (!clashes.has(disk)) clashes.set(disk, clash(paths.join(' and ')));
  };
  const files = Map.groupBy(disks, ({ identity }) => identity && `${identity.device}:${identity.inode}`);
  for (const [file, group] of files) {
    if (file === undefined) continue;
    add(group, (paths) => ({
      kind: 'source',
      what: `${paths} are one file under several names`,
      remedy: 'give only one of them',
    }));
  }
  for (const [name, group] of Map.groupBy(disks, (disk) => disk.name)) {
    add(group, (paths) => ({
      kind: 'source',
      what: `${paths} would all be named ${name}`,
      remedy: 'give others another name with --rename FILE=NAME',
    }));
  }
  return clashes;
}
