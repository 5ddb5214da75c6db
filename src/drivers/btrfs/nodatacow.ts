import {
  createUnnamedAt,
  type Descriptor,
  ensureDirectoryAt,
  openDirectoryAt,
  setOwner,
} from '../../linux/files.ts';
import { inodeFlags, readInodeFlags, writeInodeFlags } from '../../linux/inode-flags.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { TreeOptions } from '../driver.ts';

/**
 * Makes a directory in a tree, with those above it, whose files are overwritten in place. The attribute does nothing to a file that has
 * data, and says so to nobody, so it is set on a directory that is empty, and looked for in a file that was made in it.
 * @param path checked: names with "/" between them
 * @throws CoppiceError unsupported where the file system doesn't keep to it
 */
export function makeNodatacow(tree: number, path: string, owner?: TreeOptions['owner']): void {
  using directory = descend(tree, path.split('/'), owner);
  writeInodeFlags(directory.fd, readInodeFlags(directory.fd) | inodeFlags.noCopyOnWrite);
  if (isNodatacow(directory.fd) && isInherited(directory.fd)) return;
  throw new CoppiceError(
    'unsupported',
    `The directory ${path} can't be made nodatacow: this file system takes the attribute and does not keep to it.`,
  );
}

export function isNodatacow(fd: number): boolean {
  return (readInodeFlags(fd) & inodeFlags.noCopyOnWrite) !== 0;
}

function isInherited(directory: number): boolean {
  using file = createUnnamedAt(directory);
  return file === undefined || isNodatacow(file.fd);
}

function descend(tree: number, names: readonly string[], owner: TreeOptions['owner']): Descriptor {
  let directory = openDirectoryAt(tree, '.');
  for (const name of names) {
    using above = directory;
    ensureDirectoryAt(above.fd, name, 0o755);
    directory = openDirectoryAt(above.fd, name);
    if (owner) setOwner(directory.fd, owner.uid, owner.gid);
  }
  return directory;
}
