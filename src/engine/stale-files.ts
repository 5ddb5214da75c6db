import { closeSync, constants, openSync, readdirSync } from 'node:fs';
import { staleNames } from '../consistency/stale.ts';
import type { Held } from '../drivers/driver.ts';
import {
  Descriptor,
  descriptorPath,
  openDirectoryIfAny,
  removeFileAt,
  standsInTheWay,
} from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { settingsOf } from '../model/settings.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';

/**
 * Removes from a writable copy of a tree what speaks of processes that ran on the original: the number of a process that may be anybody's
 * by now, or sockets that nobody listens to. Only where an application is declared for the volume is it known what that is. The copy
 * belongs to whoever the application runs as, so no link in it is followed. Returns whether there could be anything.
 */
export function removeStale(context: Context, { metadata }: HeldVolume, copy: Held): boolean {
  const declared = settingsOf(metadata.settings, 'quiesce').flatMap(
    ([name, value]) => staleNames(name, value) ?? [],
  );
  if (metadata.kind !== 'tree' || declared.length === 0) return false;
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  using root =
    context.driver.openStagedTree?.(copy) ??
    new Descriptor(openSync(context.driver.path(copy), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), closeSync);
  for (const { directory, isStale } of declared) removeFrom(root.fd, directory, isStale);
  return true;
}

function removeFrom(root: number, path: string, isStale: (name: string) => boolean): void {
  try {
    using directory = openDirectoryIfAny(root, path);
    if (!directory) return;
    for (const name of readdirSync(descriptorPath(directory.fd)).filter(isStale))
      removeFileAt(directory.fd, name);
  } catch (error) {
    if (!standsInTheWay(error) && !hasErrno(error, 'EISDIR', 'EPERM')) throw error;
  }
}
