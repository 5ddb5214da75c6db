import { lstatSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';

/**
 * Makes sure that nobody but root and this user can put something else in the place of what lies in a directory.
 * @throws CoppiceError permission_denied
 */
export function requireOwnDirectory(directory: string, what: string): void {
  const mine = [0, process.getuid?.() ?? 0];
  const itself = realpathSync(directory);
  for (let path = itself; ; path = dirname(path)) {
    const { mode, uid } = lstatSync(path);
    const isSticky = (mode & 0o1000) !== 0;
    const isOpen = (mode & 0o022) !== 0;
    // In a directory such as /tmp, others can't touch what is not theirs; what lies directly in it could be theirs.
    const isSafe = mine.includes(uid) && (!isOpen || (isSticky && path !== itself));
    if (!isSafe)
      throw new CoppiceError(
        'permission_denied',
        `${path} can be written by others than root, who could put ${what} of their own in its place; choose a directory that only root can write to.`,
      );
    if (path === '/') return;
  }
}
