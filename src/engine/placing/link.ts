import { constants, openSync } from 'node:fs';
import {
  Descriptor,
  descriptorPath,
  exchangeAt,
  flush,
  makeLinkAt,
  removeDirectoryAt,
  removeFileAt,
} from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { contentOf, linkTarget, type Spot } from './spot.ts';

/**
 * Makes a link where there is nothing, or in the place of an empty directory, or of another link of ours: whoever looks finds what was
 * there or the link.
 * @param id of the volume: what a run that died has left beside it is known by that
 * @throws SystemError ENOTEMPTY when somebody has put something into the directory meanwhile, EEXIST
 */
export function putLink(spot: Spot, id: string, target: string, instead: 'absent' | 'empty' | 'link'): void {
  clearTemporary(spot, id);
  if (instead === 'absent') {
    makeLinkAt(spot.parent, spot.base, target);
    flushNames(spot);
    return;
  }
  const temporary = temporaryName(id);
  makeLinkAt(spot.parent, temporary, target);
  exchangeAt(spot.parent, temporary, spot.parent, spot.base);
  try {
    if (instead === 'empty') removeDirectoryAt(spot.parent, temporary);
    else removeFileAt(spot.parent, temporary);
  } catch (error) {
    exchangeAt(spot.parent, temporary, spot.parent, spot.base);
    removeFileAt(spot.parent, temporary);
    throw error;
  }
  flushNames(spot);
}

/** Removes a link that leads to one of these places. Returns whether there was one. */
export function dropLink(spot: Spot, id: string, isOurs: (target: string) => boolean): boolean {
  clearTemporary(spot, id);
  const target = linkTarget(spot);
  if (target === undefined || !isOurs(target)) return false;
  removeFileAt(spot.parent, spot.base);
  flushNames(spot);
  return true;
}

/** What lies under the temporary name is a link of ours, or an empty directory that one has taken the place of. */
export function clearTemporary({ parent }: Pick<Spot, 'parent'>, id: string): void {
  const temporary = temporaryName(id);
  try {
    if (linkTarget({ parent, base: temporary }) === undefined) removeDirectoryAt(parent, temporary);
    else removeFileAt(parent, temporary);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

/** Whether a run that died has left that, and its name. */
export function leftBeside({ parent }: Pick<Spot, 'parent'>, id: string): string | undefined {
  const base = temporaryName(id);
  return contentOf({ parent, base }) === 'absent' ? undefined : base;
}

function temporaryName(id: string): string {
  return `.coppice-${id}`;
}

/** Makes the names in the directory of a place survive a power cut. */
export function flushNames({ parent }: Pick<Spot, 'parent'>): void {
  using directory = new Descriptor(
    openSync(descriptorPath(parent), constants.O_RDONLY | constants.O_DIRECTORY),
  );
  flush(directory.fd);
}
