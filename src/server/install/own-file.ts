import { lstatSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { readIfAny, replaceFile } from '../../engine/pools/replace-file.ts';
import { CoppiceError } from '../../model/errors.ts';

/**
 * Files that a command has written are replaced by it, and no others.
 * @param marker the first line of those that it has
 * @throws CoppiceError already_exists
 */
export function requireOurs(file: string, marker: string, command: string): void {
  const status = lstatSync(file, { throwIfNoEntry: false });
  if (!status) return;
  if (status.isFile() && readIfAny(file)?.startsWith(`${marker}\n`)) return;
  throw new CoppiceError(
    'already_exists',
    `${file} was not written by "${command}", and is not replaced; move it away first. What you want to change of a unit goes into a file of your own, by "systemctl edit".`,
  );
}

/** Returns what was done, for people. */
export function write(file: string, text: string): string {
  if (readIfAny(file) === text) return `Already in ${file}`;
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  replaceFile(file, text, 0o644);
  return `Wrote ${file}`;
}
