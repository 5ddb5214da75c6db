import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { Descriptor, descriptorPath } from '../../../linux/files.ts';
import { inodeFlags, readInodeFlags, writeInodeFlags } from '../../../linux/inode-flags.ts';
import { lastLine, streamProgram } from '../../../linux/programs.ts';
import { CoppiceError } from '../../../model/errors.ts';
import { directoryOf } from './look.ts';

/**
 * Copies everything in one directory into another that is empty. cp(1) of coreutils keeps all that `firstDifference` looks for, and
 * shares blocks; what it does not keep is the attributes of chattr, so directories whose files are to be overwritten in place, and
 * those in them that are not, are made before.
 * @param nodatacow as one byte a character
 * @param sharing `always`: fails where a file can't share its blocks
 */
export async function copyTree(
  source: number,
  target: number,
  { nodatacow, sharing }: { readonly nodatacow: ReadonlySet<string>; readonly sharing: 'always' | 'auto' },
  directories: () => Iterable<string>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (nodatacow.size > 0) makeDirectories(target, nodatacow, directories());
  const { code, errors } = await streamProgram(
    'cp',
    ['-a', `--reflink=${sharing}`, '--one-file-system', '-T', '--', '/proc/self/fd/3/.', '/proc/self/fd/4/.'],
    { descriptors: [source, target], signal },
  );
  signal?.throwIfAborted();
  if (code === 0) return;
  throw new CoppiceError(
    'io_error',
    `cp failed (exit code ${code}): ${lastLine(errors.replaceAll('/proc/self/fd/4/./', '').replaceAll('/proc/self/fd/3/./', '')) || 'it said nothing'}.`,
  );
}

/** The attribute is handed on to what is made in a directory, and can be set and taken as long as nothing is. */
function makeDirectories(
  target: number,
  nodatacow: ReadonlySet<string>,
  directories: Iterable<string>,
): void {
  for (const path of directories) {
    const reach = Buffer.concat([Buffer.from(`${descriptorPath(target)}/`), Buffer.from(path, 'latin1')]);
    if (path !== '') mkdirSync(reach, 0o700);
    const isWanted = nodatacow.has(path);
    if (isWanted === (path !== '' && nodatacow.has(directoryOf(path)))) continue;
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    using directory = new Descriptor(openSync(reach, flags), closeSync);
    const before = readInodeFlags(directory.fd) & ~inodeFlags.noCopyOnWrite;
    writeInodeFlags(directory.fd, before | (isWanted ? inodeFlags.noCopyOnWrite : 0));
  }
}
