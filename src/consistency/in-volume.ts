import { constants, fstatSync, openSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { Descriptor, openAt } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Subject } from './quiescer.ts';

export interface FileInVolume extends Disposable {
  /** The open directory that it lies in. */
  readonly directory: number;
  /** Opened without a right to read or write. */
  readonly fd: number;
  readonly status: Stats;
}

const O_PATH = 0o10000000;

/**
 * Opens what a path leads to inside a volume, without a link or a mount on the way, and only where a snapshot of the volume has it, too.
 * @param path from the directory of the volume
 * @throws CoppiceError not_found; invalid_argument
 */
export function openInVolume({ volume, directory }: Subject, path: string): FileInVolume {
  if (directory === undefined)
    throw new CoppiceError(
      'invalid_argument',
      `The volume ${volume} is a disk, so no path can lead into it.`,
    );
  using opened = new DisposableStack();
  try {
    const { O_RDONLY, O_DIRECTORY } = constants;
    const root = opened.use(new Descriptor(openSync(directory, O_RDONLY | O_DIRECTORY)));
    const parent = opened.use(openAt(root.fd, dirname(path), O_RDONLY | O_DIRECTORY));
    const file = opened.use(openAt(root.fd, path, O_PATH));
    const status = fstatSync(file.fd);
    if (status.dev !== fstatSync(root.fd).dev) throw elsewhere(volume, path, 'in a subvolume of its own');
    const moved = opened.move();
    return { directory: parent.fd, fd: file.fd, status, [Symbol.dispose]: () => moved.dispose() };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no ${path} in the volume ${volume}.`, { cause: error });
    if (hasErrno(error, 'ELOOP')) throw elsewhere(volume, path, 'behind a symbolic link');
    if (hasErrno(error, 'EXDEV')) throw elsewhere(volume, path, 'on another file system');
    throw error;
  }
}

function elsewhere(volume: string, path: string, where: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    `${path} lies ${where}, so a snapshot of the volume ${volume} would not have it.`,
  );
}
