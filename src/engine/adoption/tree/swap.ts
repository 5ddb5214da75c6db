import { fstatSync } from 'node:fs';
import { statusIfAny } from '../../../linux/file-status.ts';
import { exchangeAt, makeLinkAt, removeFileAt } from '../../../linux/files.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../../model/errors.ts';
import type { Name } from '../../../model/names.ts';
import type { Context } from '../../context.ts';
import { holdVolume } from '../../holding.ts';
import { flushNames } from '../../placing/link.ts';
import { requireOwn } from '../../placing/own.ts';
import { linkTarget, type Spot } from '../../placing/spot.ts';
import { hostTurn } from '../../pools/boot-entry.ts';
import { fingerprintTree, type TreeLook } from './look.ts';
import type { AdoptTreeOptions } from './request.ts';
import { type Source, usersOf } from './way.ts';

/** A link and the directory exchange their names; then it is looked who had the directory open until then. */
export function swap(
  context: Context,
  { spot, fd }: Source,
  name: Name,
  options: AdoptTreeOptions,
  look: TreeLook,
): string {
  using _turn = hostTurn('places');
  using volume = holdVolume(context, name, 'exclusive');
  requireOwn(context, volume);
  const original = volume.metadata.at?.original;
  if (original === undefined || volume.metadata.at?.path !== spot.path)
    throw new CoppiceError('busy', `${name} was changed by another operation meanwhile.`);
  const { parent, base } = spot;
  const tree = context.driver.path(volume.held);
  dropStaleLink(spot, original, tree);
  makeLinkAt(parent, original, tree);
  exchangeAt(parent, original, parent, base);
  const isIt = statusIfAny(parent, original)?.inode === fstatSync(fd, { bigint: true }).ino;
  const users = options.force ? [] : usersOf(beside(spot, original));
  const isSame = isIt && (options.force || fingerprintTree(fd) === look.fingerprint);
  if (!isSame || users.length > 0) {
    exchangeAt(parent, original, parent, base);
    removeFileAt(parent, original);
    const changed: Blocker = {
      kind: 'source',
      what: 'it was changed meanwhile',
      remedy: `stop who writes there; then "coppice adopt --kind tree --undo ${spot.path}", and remove or rename ${name}`,
    };
    throw blockedBy(
      `Could not put ${name} in the place of ${spot.path}`,
      users.length > 0 ? users : [changed],
    );
  }
  flushNames(spot);
  return beside(spot, original);
}

/** Of a run that died before the exchange. */
export function dropStaleLink({ parent }: Spot, original: string, tree: string): void {
  if (linkTarget({ parent, base: original }) === tree) removeFileAt(parent, original);
}

export function beside({ path, base }: Spot, name: string): string {
  return `${path.slice(0, -base.length)}${name}`;
}
