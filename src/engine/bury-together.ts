import type { Held } from '../drivers/driver.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import type { SnapshotMetadata, VolumeMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import { bury } from './bury.ts';
import type { Context } from './context.ts';
import { explaining } from './failures.ts';
import { beginGroup, commitGroup, forgetGroup, type Group } from './groups.ts';
import { abandon } from './publish.ts';

/** Something that is held exclusively and shall go. */
export interface Doomed {
  /** `NAME` or `VOLUME@SNAPSHOT`. */
  readonly label: string;
  readonly held: Held;
  /** The volume that it is or belongs to. */
  readonly name: Name;
}

interface Member {
  readonly doomed: Doomed;
  readonly metadata: VolumeMetadata | SnapshotMetadata;
}

/**
 * Removes several things in one step: each is marked with the id of their group, and when that is committed, all are gone. What
 * then destroys them can be interrupted; the next opening of the pool goes on. Where they can't be marked, because the pool is
 * full or one of them has lost its metadata, they go one after the other.
 * @param onBuried is told how many have been destroyed
 * @returns sentences about what is removed and could not be destroyed yet
 */
export function buryTogether(
  context: Context,
  all: readonly Doomed[],
  onBuried: (done: number) => void,
): string[] {
  using group = all.length > 1 ? committed(context, all) : undefined;
  const giveWay = context.driver.givingWay();
  const warnings: string[] = [];
  let allMoved = true;
  for (const [index, { label, held, name }] of all.entries()) {
    try {
      const undestroyed = bury(context, held, name);
      if (undestroyed) warnings.push(notFreeYet(label, undestroyed.reason));
    } catch (reason) {
      if (!group) throw reason;
      // It is gone all the same, and the next opening of the pool finds it by the entry of its group.
      allMoved = false;
      warnings.push(notFreeYet(label, reason));
    }
    if (all.length > 1) letOthersGo(giveWay);
    onBuried(index + 1);
  }
  if (group && allMoved) forgetGroup(context, group);
  return warnings;
}

/** What can't be asked about the others must not make a failure of a removal that has happened. */
function letOthersGo(giveWay: () => void): void {
  try {
    giveWay();
  } catch {}
}

function notFreeYet(label: string, reason: unknown): string {
  const why = reason instanceof Error ? reason.message : String(reason);
  const who = hasErrno(reason, 'EACCES', 'EPERM') ? 'run as root' : 'that can';
  return `${label} is removed; its space is not free yet, because it could not be destroyed (${why}); the next command on this pool ${who} goes on with that.`;
}

function committed(context: Context, all: readonly Doomed[]): Group | undefined {
  const members = all.flatMap((doomed): Member[] => {
    const metadata = context.driver.read(doomed.held);
    return metadata?.type === 'volume' || metadata?.type === 'snapshot' ? [{ doomed, metadata }] : [];
  });
  if (members.length < all.length) return undefined;
  try {
    return commit(context, beginGroup(context, 'remove'), members);
  } catch (error) {
    if (isNoSpace(error)) return undefined;
    throw error;
  }
}

/** A mark of a group that was not committed means nothing, so none needs to be taken back. */
function commit(context: Context, group: Group, members: readonly Member[]): Group {
  try {
    for (const { doomed, metadata } of members)
      explaining(`remove ${doomed.label}`, () =>
        context.driver.write(doomed.held, { ...metadata, removal: group.id }),
      );
    commitGroup(context, group);
    return group;
  } catch (error) {
    abandon(context, group.entry);
    group[Symbol.dispose]();
    throw error;
  }
}

function isNoSpace(error: unknown): boolean {
  return hasErrno(error, 'ENOSPC', 'EDQUOT') || (error instanceof CoppiceError && error.code === 'no_space');
}
