import { hasErrno } from '../../linux/system-calls.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { TreePlace } from '../../model/tree-place.ts';
import { openBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import type { HeldVolume } from '../holding.ts';
import type { BootEntry, BootFiles } from '../pools/boot-entry.ts';
import { dropDirectory, dropMount, putMount, showsTree } from './bind.ts';
import { bootProblem, dropBootEntries, isTreeOf, putBootEntry } from './boot.ts';
import { clearTemporary, dropLink, leftBeside, putLink } from './link.ts';
import { contentOf, linkTarget, openSpot, type Spot } from './spot.ts';

/** A volume with what is recorded, or is about to be, of where its tree is. */
export interface Placed {
  readonly context: Context;
  readonly volume: Pick<HeldVolume, 'held' | 'name' | 'metadata'>;
  readonly at: TreePlace;
  readonly files: BootFiles;
}

/** `here`: as recorded; `stale`: a link to a name that the volume had before. What is neither that nor free is called by what it is. */
export type PlaceState = 'here' | 'stale' | 'absent' | 'empty' | 'directory' | 'link' | 'mount' | 'other';

export function stateOf({ context, volume, at }: Omit<Placed, 'files'>, spot: Spot): PlaceState {
  const content = contentOf(spot);
  const { driver } = context;
  if (driver.mountAt) return driver.mountedAt?.(volume.held) === at.path ? 'here' : content;
  if (content === 'link' && at.how === 'link') {
    const target = linkTarget(spot) ?? '';
    return target === driver.path(volume.held) ? 'here' : isTreeOf(context.path)(target) ? 'stale' : content;
  }
  if (content === 'mount' && at.how === 'mount')
    return showsTree(spot, driver.path(volume.held)) ? 'here' : content;
  return content;
}

/** Makes true what is recorded. What is there already stays. */
export function putInPlace(placed: Placed, spot: Spot, state: PlaceState): BootEntry | undefined {
  const { context, volume, at } = placed;
  const { driver } = context;
  if (driver.mountAt) {
    // Also where it is there: it may not be at the next boot.
    driver.mountAt(volume.held, at.path);
    return undefined;
  }
  const tree = driver.path(volume.held);
  const isFree = state === 'absent' || state === 'empty';
  try {
    if (at.how === 'mount') {
      if (isFree) putMount(spot, tree, context.path, state === 'absent');
      return putBootEntry({ ...placed, tree, pool: context.path }, false);
    }
    if (isFree) putLink(spot, volume.metadata.id, tree, state);
    else if (state === 'stale') putLink(spot, volume.metadata.id, tree, 'link');
    else clearTemporary(spot, volume.metadata.id);
    return undefined;
  } catch (error) {
    if (hasErrno(error, 'ENOTEMPTY', 'EEXIST')) throw somethingThere(at.path, error);
    throw error;
  }
}

/**
 * The opposite. What is there and is not the tree is left alone.
 * @throws CoppiceError blocked when somebody uses it there
 */
export function takeFromPlace(placed: Placed, spot: Spot, force: boolean): void {
  const { context, volume, at } = placed;
  const { driver } = context;
  const state = stateOf(placed, spot);
  if (driver.mountAt) {
    if (state === 'here') driver.mountAt(volume.held, undefined);
    if (at.made && (state === 'here' || state === 'empty')) dropDirectory(spot);
    return;
  }
  if (at.how === 'link') {
    dropLink(spot, volume.metadata.id, isTreeOf(context.path));
    return;
  }
  // First what would bring it back.
  dropBootEntries({ at, pool: context.path, files: placed.files });
  try {
    if (state === 'here') dropMount(spot, force);
  } catch (error) {
    if (!hasErrno(error, 'EBUSY')) throw error;
    const users = openBlockers(context, [volume.held]);
    const unknown = { kind: 'open' as const, what: `something uses ${at.path}`, remedy: 'stop that' };
    throw blockedBy(
      `Could not unmount ${volume.name} from ${at.path}`,
      users.length > 0 ? users : [unknown],
      {
        cause: error,
      },
    );
  }
  if (at.made && (state === 'here' || state === 'empty')) dropDirectory(spot);
}

/** After a volume got another name: the link and the entry lead to where it is now. */
export function followRename(placed: Placed, before: string): void {
  const { context, volume, at } = placed;
  if (context.driver.mountAt) return;
  const tree = context.driver.path(volume.held);
  if (at.how === 'mount') {
    putBootEntry({ ...placed, tree, pool: context.path }, false);
    return;
  }
  using spot = openSpot(at.path);
  if (linkTarget(spot) === before) putLink(spot, volume.metadata.id, tree, 'link');
}

/** What is recorded and not in force, with how to mend it: a sentence each. */
export function placeProblems(placed: Placed): string[] {
  const { context, volume, at } = placed;
  const { name } = volume;
  const mend = `"coppice mount ${name}" mends that, and "coppice unmount ${name}" has it forgotten`;
  const way = at.how === 'link' ? 'linked' : 'mounted';
  const problems: string[] = [];
  const { state, left } = lookAt(placed);
  if (state === 'unseen') return [];
  if (left !== undefined)
    problems.push(`Beside ${at.path}, a command that ended early has left ${left}; ${mend}.`);
  if (at.removing)
    problems.push(
      `The directory ${at.original} beside ${at.path}, from which ${name} was adopted, is not quite removed; "coppice adopt --kind tree --remove-originals ${at.path}" goes on.`,
    );
  if (state === 'directory' && at.original !== undefined && !at.removing) {
    problems.push(
      `${name} was to take the place of ${at.path}, which is still what it was; adopt it again, or "coppice adopt --kind tree --undo ${at.path}" has it forgotten.`,
    );
  } else if (state === 'absent' || state === 'empty') {
    problems.push(`${name} should be ${way} at ${at.path}, and is not; ${mend}.`);
  } else if (state === 'stale') {
    problems.push(`The link at ${at.path} does not lead to ${name} any more; ${mend}.`);
  } else if (state !== 'here') {
    problems.push(
      `${name} should be ${way} at ${at.path}, where ${described(state)} is instead; move that away, then ${mend}.`,
    );
  }
  if (context.driver.mountAt) return problems;
  const boot = bootProblem({ ...placed, tree: context.driver.path(volume.held), pool: context.path });
  return boot === undefined ? problems : [...problems, `${name} ${boot}; ${mend}.`];
}

function described(state: PlaceState): string {
  switch (state) {
    case 'link':
      return 'a link that leads elsewhere';
    case 'mount':
      return 'a mount of something else';
    case 'directory':
      return 'a directory with something in it';
    default:
      return 'a file';
  }
}

/** Also where the directory above is gone. Where this user can't look, there is nothing to tell. */
function lookAt(placed: Placed): {
  readonly state: PlaceState | 'unseen';
  readonly left?: string | undefined;
} {
  try {
    using spot = openSpot(placed.at.path);
    return { state: stateOf(placed, spot), left: leftBeside(spot, placed.volume.metadata.id) };
  } catch (error) {
    return { state: unseen(error) };
  }
}

function unseen(error: unknown): PlaceState | 'unseen' {
  if (error instanceof CoppiceError && error.code === 'not_found') return 'absent';
  if (error instanceof CoppiceError && error.code === 'permission_denied') return 'unseen';
  if (error instanceof CoppiceError && error.code === 'invalid_argument') return 'other';
  if (hasErrno(error, 'EACCES', 'EPERM')) return 'unseen';
  throw error;
}

export function somethingThere(path: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'already_exists',
    `There is something in ${path}: a tree is mounted on an empty directory, or on one that is not there yet; to take in what it has, "coppice adopt --kind tree ${path}".`,
    { cause },
  );
}
