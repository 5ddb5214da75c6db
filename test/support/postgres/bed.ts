import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createSnapshot, createSubvolume, destroySubvolume } from '../../../src/linux/btrfs.ts';
import { openDirectory } from '../../../src/linux/open-directory.ts';
import { mountedFileSystem, scratchDirectory } from '../devices.ts';
import { runDirectory } from '../run-directory.ts';

/** Subvolumes on a loop btrfs, as the volumes of a pool. */
export interface Bed extends Disposable {
  readonly path: string;
  /** The file that it lies in. */
  readonly file: string;
  /** A directory outside of it. */
  readonly scratch: string;
  /** Makes one; returns its path. */
  subvolume(name: string): string;
  /** Copies one, or a copy, at one instant; returns the path of the writable copy. */
  copy(source: string, name: string): string;
  remove(name: string): void;
}

export function makeBed(): Bed {
  // The server is another user, who has to get there.
  chmodSync(runDirectory(), 0o711);
  const mounted = mountedFileSystem('btrfs', 6 * 2 ** 30);
  const { path } = mounted;
  const made = new Set<string>();
  const inside = <T>(step: (directory: number) => T): T => {
    using directory = openDirectory(path);
    return step(directory.fd);
  };
  const scratch = scratchDirectory('postgres');
  mkdirSync(join(scratch, 'sockets'));
  return {
    path,
    file: mounted.file,
    scratch,
    subvolume(name) {
      inside((directory) => createSubvolume(directory, name));
      made.add(name);
      return join(path, name);
    },
    copy(source, name) {
      using opened = openDirectory(source);
      inside((directory) => createSnapshot(opened.fd, directory, name, 'writable'));
      made.add(name);
      return join(path, name);
    },
    remove(name) {
      inside((directory) => destroySubvolume(directory, name));
      made.delete(name);
    },
    [Symbol.dispose]: () => mounted[Symbol.dispose](),
  };
}
