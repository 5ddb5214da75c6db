import { exchangeAt, removeFileAt } from '../../linux/files.ts';
import { runProgram } from '../../linux/programs.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Name } from '../../model/names.ts';
import type { TreePlace } from '../../model/tree-place.ts';
import { beside, dropStaleLink } from '../adoption/tree/swap.ts';
import { openBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdVolume } from '../holding.ts';
import { flushNames } from '../placing/link.ts';
import { requireOwn } from '../placing/own.ts';
import { stateOf } from '../placing/place.ts';
import { contentOf, openSpot, type Spot } from '../placing/spot.ts';
import { hostTurn } from '../pools/boot-entry.ts';
import { volumesOf } from '../visible.ts';
import { write } from './mount.ts';

export interface UndoOptions {
  /** Go on although somebody has something in the volume open. */
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

export interface AdoptionUndone {
  readonly volume: string;
  readonly path: string;
}

export interface OriginalRemoved {
  readonly volume: string;
  readonly path: string;
  /** What is gone, or would be. */
  readonly original: string;
}

/**
 * Puts back the directory that an adoption has put aside, in one step. The volume stays, with all that was written to it since; the
 * directory is as it was.
 */
export async function undoAdoption(
  context: Context,
  directory: string,
  options: UndoOptions,
): Promise<AdoptionUndone> {
  using spot = openSpot(directory);
  using volume = holdAdopted(context, spot);
  const { at, ...metadata } = volume.metadata;
  const original = originalOf(volume, at);
  if (at?.removing) throw isGone(spot, original);
  const place = { context, volume, at: at as TreePlace };
  const told = { volume: volume.name, path: spot.path };
  using _turn = hostTurn('places');
  const aside = { parent: spot.parent, base: original };
  const tree = context.driver.path(volume.held);
  if (stateOf(place, spot) === 'here') {
    if (!['directory', 'empty'].includes(contentOf(aside))) throw isGone(spot, original);
    const users = options.force ? [] : openBlockers(context, [volume.held]);
    if (users.length > 0) throw blockedBy(`Could not take ${volume.name} from ${spot.path}`, users);
    if (options.dryRun) return told;
    exchangeAt(spot.parent, original, spot.parent, spot.base);
    if (contentOf(aside) !== 'link') {
      exchangeAt(spot.parent, original, spot.parent, spot.base);
      throw new CoppiceError('busy', `${spot.path} was exchanged by somebody else just now; look at it.`);
    }
    removeFileAt(spot.parent, original);
  } else if (!['directory', 'empty'].includes(contentOf(spot))) {
    throw new CoppiceError(
      'damaged',
      `What is at ${spot.path} is neither ${volume.name} nor the directory that it was adopted from, which should be ${beside(spot, original)}; put that back by hand.`,
    );
  }
  if (options.dryRun) return told;
  dropStaleLink(spot, original, tree);
  flushNames(spot);
  write(context, volume, metadata);
  return told;
}

/** Removes for good the directory that an adoption has put aside. From the moment that it begins there is no way back. */
export async function removeOriginal(
  context: Context,
  directory: string,
  { dryRun }: { readonly dryRun?: boolean },
): Promise<OriginalRemoved> {
  using spot = openSpot(directory);
  using volume = holdAdopted(context, spot);
  const { at, ...metadata } = volume.metadata;
  const original = originalOf(volume, at);
  if (!at || stateOf({ context, volume, at }, spot) !== 'here') {
    throw new CoppiceError(
      'damaged',
      `${volume.name} is not at ${spot.path}, so that ${beside(spot, original)} may be all there is; "coppice pool check" says more.`,
    );
  }
  const told = { volume: volume.name, path: spot.path, original: beside(spot, original) };
  if (dryRun) return told;
  if (!at.removing) write(context, volume, { ...metadata, at: { ...at, removing: true } });
  // The program goes from directory to directory without following a link that somebody puts there meanwhile.
  runProgram('rm', ['-rf', '--one-file-system', '--', told.original]);
  flushNames(spot);
  const { original: _original, removing: _removing, ...rest } = at;
  write(context, volume, { ...metadata, at: rest });
  return told;
}

/** The volume that is recorded to be at a place. */
function holdAdopted(context: Context, { path }: Spot): HeldVolume {
  const record = volumesOf(context).find(
    ({ metadata }) => metadata?.type === 'volume' && metadata.at?.path === path,
  );
  if (!record) throw new CoppiceError('not_found', `Nothing in ${context.path} was adopted from ${path}.`);
  const volume = holdVolume(context, record.name as Name, 'exclusive');
  try {
    requireOwn(context, volume);
    if (volume.metadata.at?.path === path) return volume;
    throw new CoppiceError('busy', `${volume.name} was changed by another operation meanwhile.`);
  } catch (error) {
    volume[Symbol.dispose]();
    throw error;
  }
}

function originalOf({ name }: HeldVolume, at: TreePlace | undefined): string {
  if (at?.original !== undefined) return at.original;
  throw new CoppiceError(
    'not_found',
    `${name} has taken the place of no directory that is still there; "coppice unmount ${name}" takes it from where it is.`,
  );
}

function isGone(spot: Spot, original: string): CoppiceError {
  return new CoppiceError(
    'not_found',
    `The directory ${beside(spot, original)} is gone or is being removed, so there is nothing to put back.`,
  );
}
