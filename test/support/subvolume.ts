import { openSync } from 'node:fs';
import { join } from 'node:path';
import { createSnapshot, createSubvolume, destroySubvolume } from '../../src/linux/btrfs.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { call } from '../../src/linux/system-calls.ts';
import { mountedFileSystem } from './devices.ts';

export interface Subvolume extends Disposable {
  readonly directory: string;
  /** Takes a snapshot that can be written to, and returns its directory. */
  snapshot(): string;
  drop(copy: string): void;
}

/** A btrfs subvolume on a loop device, and snapshots of it. */
export function subvolume(): Subvolume {
  const mounted = mountedFileSystem('btrfs', 4 * 2 ** 30);
  const root = new Descriptor(openSync(mounted.path, 'r'));
  createSubvolume(root.fd, 'active');
  const directory = join(mounted.path, 'active');
  let count = 0;
  return {
    directory,
    snapshot() {
      using source = new Descriptor(openSync(directory, 'r'));
      const name = `copy-${++count}`;
      createSnapshot(source.fd, root.fd, name, 'writable');
      return join(mounted.path, name);
    },
    drop: (copy) => destroySubvolume(root.fd, copy.slice(mounted.path.length + 1)),
    [Symbol.dispose]() {
      call('syncfs', directory, root.fd);
      root[Symbol.dispose]();
      mounted[Symbol.dispose]();
    },
  };
}
