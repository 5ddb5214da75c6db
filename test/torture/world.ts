import { constants, copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createPool, openPool, type Pool } from '../../src/index.ts';
import { mountOf } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { mountedFileSystem, scratchDirectory } from '../support/devices.ts';
import type { DriverName } from './options.ts';

/** The pool's file as the disk would be found at the next boot, had the power been cut. */
export interface Image {
  readonly file: string;
  /** Nanoseconds of the clock that all processes share: it was taken between the two. */
  readonly after: bigint;
  readonly before: bigint;
}

export interface World extends AsyncDisposable {
  /** Where the pool is mounted. */
  readonly path: string;
  readonly file: string;
  /** The file system under the pool's file. */
  readonly host: string;
  readonly scratch: string;
  /** Runs something with the pool open in this process. */
  using<T>(use: (pool: Pool) => Promise<T>): Promise<T>;
  takeImage(): Image;
  /** Shows an image instead of the pool, in the same place, while something runs. */
  showing<T>(image: Image, use: () => Promise<T>): Promise<T>;
}

const GiB = 2 ** 30;

/** A pool in a file on a file system of its own, which can share blocks where `host` says so. */
export async function makeWorld(
  driver: DriverName,
  host: 'btrfs' | 'xfs' | 'ext4',
  options: { readonly bytes?: number; readonly hostBytes?: number } = {},
): Promise<World> {
  const beneath = mountedFileSystem(host, options.hostBytes ?? 24 * GiB);
  const scratch = scratchDirectory('scratch');
  const path = join(scratchDirectory('pool'), 'mnt');
  const file = join(beneath.path, 'pool.img');
  createPool({ path, driver, file, bytes: options.bytes ?? 8 * GiB });
  const mountOptions = mountOf(path)?.options.includes('discard') ? ['discard'] : [];
  let images = 0;
  const mount = (image: string, ...extra: string[]): void => {
    runProgram('mount', ['-o', ['loop', ...extra].join(), '--', image, path]);
  };
  return {
    path,
    file,
    host: beneath.path,
    scratch,
    async using(use) {
      await using pool = await openPool(path, { inline: true, lockTimeout: 60_000 });
      return await use(pool);
    },
    takeImage() {
      const image = join(beneath.path, `cut-${++images}.img`);
      const after = process.hrtime.bigint();
      copyFileSync(file, image, constants.COPYFILE_FICLONE_FORCE);
      return { file: image, after, before: process.hrtime.bigint() };
    },
    async showing(image, use) {
      // It has the identity of the pool, and the kernel knows only one file system of that.
      runProgram('umount', ['--', path]);
      mount(image.file, ...(driver === 'xfs' ? ['nouuid'] : []));
      try {
        return await use();
      } finally {
        runProgram('umount', ['--', path]);
        mount(file, ...mountOptions);
      }
    },
    async [Symbol.asyncDispose]() {
      runProgram('umount', ['--', path]);
      beneath[Symbol.dispose]();
      rmSync(scratch, { recursive: true });
      rmSync(join(path, '..'), { recursive: true });
    },
  };
}

/** A directory in the world for what one thing needs. */
export function placeIn(world: World, name: string): string {
  const path = join(world.scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}
