import { findHolders } from '../../linux/holders.ts';
import type { Blocker } from '../../model/errors.ts';
import { holderBlockers } from '../blockers.ts';
import type { Look } from './look.ts';

/**
 * Who has these files open: one look through all processes, and only where the kernel says that somebody has, or won't say.
 * @param matters whether a disk that is open, and not written to, counts too
 */
export function usersOf<T extends Look>(
  disks: readonly T[],
  matters: (disk: T) => 'open' | 'written' | 'never',
): ReadonlyMap<T, readonly Blocker[]> {
  const answer = (disk: T): boolean | undefined => {
    const what = matters(disk);
    return what === 'never' || !disk.identity ? false : what === 'open' ? disk.isOpen : disk.isWritten;
  };
  const suspects = disks.filter((disk) => answer(disk) !== false);
  if (suspects.length === 0) return new Map();
  const { holders, complete } = findHolders(suspects.flatMap(({ identity }) => identity ?? []));
  return new Map(
    suspects.map((disk) => {
      const own = holders.filter((holder) => holder.path === disk.entry.label);
      // Where the kernel won't say, as on a network file system, it counts that nobody was seen by whoever can see all.
      const isTold = own.length > 0 || (complete && answer(disk) === undefined);
      return [
        disk,
        holderBlockers({ holders: own, complete: isTold }).map((blocker) => named(disk, blocker)),
      ];
    }),
  );
}

function named({ entry }: Look, blocker: Blocker): Blocker {
  if (blocker.kind !== 'unknown_holders') return blocker;
  return { ...blocker, what: blocker.what.replace('the disk', entry.label) };
}
