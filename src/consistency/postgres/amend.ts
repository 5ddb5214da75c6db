import { constants, fchmodSync, fchownSync, readdirSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import { lchown } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { User } from '../../linux/connect-as.ts';
import { statusIfAny } from '../../linux/file-status.ts';
import {
  createFileAt,
  type Descriptor,
  flush,
  makeDirectoryAt,
  openBeneath,
  openDirectoryAt,
  removeDirectoryAt,
  removeFileAt,
} from '../../linux/files.ts';
import { pathBelow } from './data-directory.ts';

/**
 * Changes of a copy of a data directory, which nobody else uses. Its owner may have put anything into it before, so no link in it is
 * followed.
 */

/** Puts a file there, in place of whatever has its name; durable when this returns, but for the name. */
export function writeFile(directory: number, name: string, text: string, owner: User): void {
  removeEntry(directory, name);
  using file = createFileAt(directory, name, 0o600);
  own(file.fd, owner, 0o600);
  writeSync(file.fd, text);
  flush(file.fd);
}

export function own(fd: number, { uid, gid }: User, mode: number): void {
  if (process.geteuid?.() === 0) fchownSync(fd, uid, gid);
  fchmodSync(fd, mode);
}

/** Removes whatever has that name, if anything, with all below it. */
export function removeEntry(directory: number, name: string): void {
  const status = statusIfAny(directory, name);
  if (!status) return;
  if ((status.mode & constants.S_IFMT) !== constants.S_IFDIR) removeFileAt(directory, name);
  // Node's goes down by paths, but never through a link; and nobody else is here to exchange anything.
  else rmSync(pathBelow(directory, name), { recursive: true, force: true });
}

/** Removes what is in a directory, and keeps that. */
export function emptyDirectory(directory: number, name: string): void {
  using opened = openDirectoryAt(directory, name);
  for (const entry of readdirSync(pathBelow(opened.fd, '.'))) removeEntry(opened.fd, entry);
  flush(opened.fd);
}

/** A directory of that name: also where a link stands, or the empty place of a subvolume that the snapshot has nothing of. */
export function realDirectory(directory: number, name: string, owner: User): Descriptor {
  const status = statusIfAny(directory, name);
  const isThere = status !== undefined && (status.mode & constants.S_IFMT) === constants.S_IFDIR;
  const isPlaceholder = isThere && status.inode === 2n;
  if (isPlaceholder) removeDirectoryAt(directory, name);
  else if (status && !isThere) removeFileAt(directory, name);
  if (!isThere || isPlaceholder) makeDirectoryAt(directory, name);
  const opened = openBeneath(directory, name, constants.O_RDONLY | constants.O_DIRECTORY);
  if (!isThere || isPlaceholder) own(opened.fd, owner, 0o700);
  return opened;
}

/** Puts a link there, in place of whatever is at that path. */
export async function writeLink(directory: number, at: string, target: string, owner: User): Promise<void> {
  using parent = openDirectoryAt(directory, dirname(at));
  removeEntry(parent.fd, basename(at));
  const path = pathBelow(parent.fd, basename(at));
  symlinkSync(target, path);
  if (process.geteuid?.() === 0) await lchown(path, owner.uid, owner.gid);
}

/** What a link at one path must say to lead to another, both from the same directory: so it leads there in any copy. */
export function relativeLink(from: string, to: string): string {
  return relative(join('/', dirname(from)), join('/', to)) || '.';
}
