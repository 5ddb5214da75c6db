import { constants, readSync } from 'node:fs';
import { join } from 'node:path';
import type { User } from '../../linux/connect-as.ts';
import { type FileStatus, isRegularFile, statusAt } from '../../linux/file-status.ts';
import { type Descriptor, descriptorPath, openBeneath } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';

/** A directory of a cluster of databases, opened. Whoever owns it may have put anything into it. */
export interface DataDirectory extends Disposable {
  readonly fd: number;
  /** For sentences, and for what opens it by name. */
  readonly path: string;
  readonly owner: User;
  readonly status: FileStatus;
  /** The major version that made it: 15. */
  readonly version: number;
}

/**
 * Opens it below the directory of a volume. No link leads there, and it is part of the same subvolume.
 * @param root the volume, or a copy of it
 * @throws CoppiceError not_found; invalid_argument where it is none; unsupported where a snapshot of the volume does not have it
 */
export function openDataDirectory(root: string, below: string): DataDirectory {
  const path = join(root, below);
  using volume = openDirectory(root);
  const opened = openBelow(volume, below, path);
  try {
    const status = statusAt(opened.fd, '');
    if (status.device !== statusAt(volume.fd, '').device) {
      throw new CoppiceError(
        'unsupported',
        `${path} is a subvolume or mount of its own within the volume, so a snapshot of the volume has nothing of it: move the data directory into the volume itself, or make it a volume.`,
      );
    }
    const { fd } = opened;
    const version = versionOf(fd, path);
    return {
      fd,
      path,
      status,
      owner: { uid: status.uid, gid: status.gid },
      version,
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    };
  } catch (error) {
    opened[Symbol.dispose]();
    throw error;
  }
}

/** The beginning of a regular file below a directory; undefined where there is none. No link is followed. */
export function readBelow(directory: number, name: string, mostBytes: number): Buffer | undefined {
  try {
    using file = openBeneath(directory, name, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!isRegularFile(statusAt(file.fd, ''))) return undefined;
    const bytes = Buffer.alloc(mostBytes);
    return bytes.subarray(0, readSync(file.fd, bytes, 0, mostBytes, 0));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV', 'ENXIO')) return undefined;
    throw error;
  }
}

/** A path for what takes no descriptor: also where the directory has been renamed since. */
export function pathBelow(directory: number, name: string): string {
  return join(descriptorPath(directory), name);
}

function openBelow(volume: Descriptor, below: string, path: string): Descriptor {
  try {
    return openBeneath(volume.fd, below, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) {
      throw new CoppiceError(
        'not_found',
        `There is no ${path}, which should be a data directory of PostgreSQL.`,
        {
          cause: error,
        },
      );
    }
    if (hasErrno(error, 'ELOOP', 'EXDEV', 'ENOTDIR')) {
      throw new CoppiceError(
        'unsupported',
        `${path} is no directory of the volume, but a link or a file: declare where the data directory really is.`,
        { cause: error },
      );
    }
    throw error;
  }
}

function versionOf(fd: number, path: string): number {
  const text = readBelow(fd, 'PG_VERSION', 16)?.toString('latin1').trim() ?? '';
  if (!/^\d{1,2}(\.\d)?$/.test(text)) {
    throw new CoppiceError(
      'invalid_argument',
      `${path} is no data directory of PostgreSQL: it has no file PG_VERSION with a version.`,
    );
  }
  const version = Number.parseInt(text, 10);
  if (version >= 13) return version;
  throw new CoppiceError(
    'unsupported',
    `${path} was made by PostgreSQL ${text}, and 13 is the oldest that can be quiesced.`,
  );
}
