import { constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isDirectory, statusIfAny } from '../../linux/file-status.ts';
import { flush, openBeneath } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { realDirectory, removeEntry, writeLink } from './amend.ts';
import { type DataDirectory, openDataDirectory, pathBelow } from './data-directory.ts';
import { copyWal, walName } from './wal.ts';

/** A part of a cluster, with the copy of the volume that it lies in. */
export interface PartCopy {
  /** From the data directory: `pg_wal`, `pg_tblspc/16385`. */
  readonly name: string;
  /** From the directory of that volume. */
  readonly path: string;
  /** Where the copy of that volume is now. */
  readonly copy: string;
  /** The directory under which the server will find it. */
  readonly shown: string;
}

/**
 * Puts the parts of a copy of a cluster where they were in the cluster itself: the links lead to the other copies, and the WAL that was
 * copied into the snapshot takes the place of that in its own volume, which is of another time.
 * @throws CoppiceError damaged when something is not there that was, or leads out of the copies
 */
export async function restoreParts(
  copy: string,
  below: string,
  parts: readonly PartCopy[],
  signal: AbortSignal,
): Promise<void> {
  using directory = openDataDirectory(copy, below);
  const { fd, owner } = directory;
  for (const part of parts) {
    requirePart(directory, part);
    const status = statusIfAny(fd, part.name);
    if (part.name === 'pg_wal' && status && isDirectory(status)) await moveWal(directory, part, signal);
    await writeLink(fd, part.name, join(part.shown, part.path), owner);
  }
  flush(fd);
}

function requirePart(directory: DataDirectory, { name, path, copy }: PartCopy): void {
  try {
    openPart(copy, path)[Symbol.dispose]();
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) throw error;
    throw new CoppiceError(
      'damaged',
      `${name} of the cluster in ${directory.path} should be in ${join(copy, path)}, and there is no such directory in that snapshot.`,
      { cause: error },
    );
  }
}

async function moveWal(
  directory: DataDirectory,
  { path, copy }: PartCopy,
  signal: AbortSignal,
): Promise<void> {
  const { fd, owner } = directory;
  using from = openDirectory(pathBelow(fd, 'pg_wal'));
  using to = openPart(copy, path);
  for (const entry of readdirSync(pathBelow(to.fd, '.'))) removeEntry(to.fd, entry);
  realDirectory(to.fd, 'archive_status', owner)[Symbol.dispose]();
  const names = readdirSync(pathBelow(from.fd, '.')).filter((name) => walName.test(name));
  await copyWal(from.fd, to.fd, names, { owner, signal });
  flush(to.fd);
  removeEntry(fd, 'pg_wal');
}

function openPart(copy: string, path: string): ReturnType<typeof openBeneath> {
  using tree = openDirectory(copy);
  return openBeneath(tree.fd, path === '' ? '.' : path, constants.O_RDONLY | constants.O_DIRECTORY);
}
