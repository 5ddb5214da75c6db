import { closeSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type * as Library from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { runDirectory } from '../../test/support/run-directory.ts';

export const GiB: number = 2 ** 30;

/** The library as users get it: built. */
export const library = (await import(new URL('../../dist/index.js', import.meta.url).href)) as typeof Library;

export interface BenchPool extends AsyncDisposable {
  readonly driver: Driver;
  readonly pool: Library.Pool;
  readonly path: string;
  /** A directory inside the file system of the pool, beside the volumes, for sources and for what peers make. */
  readonly aside: string;
  /** The directory of the file under the pool. */
  readonly host: string;
}

type Driver = 'btrfs' | 'xfs';

let count = 0;

/** A pool of its own for one measure, on a loop file, so that no measure works beside the rubbish of another. */
export async function benchPool(driver: Driver = 'btrfs'): Promise<BenchPool> {
  const host = join(runDirectory(), `pool-${++count}`);
  const path = join(host, 'mnt');
  library.createPool({ path, driver, file: join(host, 'pool.img'), bytes: 32 * GiB });
  const pool = await library.openPool(path);
  const aside = join(path, 'aside');
  mkdirSync(aside);
  return {
    driver,
    pool,
    path,
    aside,
    host,
    async [Symbol.asyncDispose]() {
      await pool.close();
      runProgram('umount', ['--', path]);
    },
  };
}

/** Waits until the kernel has freed what was deleted: what an import leaves behind takes it seconds when there are many extents. */
export async function freed({ pool }: BenchPool): Promise<void> {
  const [first] = await pool.list();
  if (first) await pool.usage([first.name], { exact: true });
}

/** A file of 2 GiB whose data lies in so many extents: blocks of 4 KiB with holes between them. Returns its path. */
export function makeImage(directory: string, extents: number): string {
  const path = join(directory, `image-${extents}`);
  const file = openSync(path, 'wx');
  const step = Math.floor((2 * GiB) / extents / 4096) * 4096;
  const block = Buffer.alloc(4096, 'coppice');
  ftruncateSync(file, 2 * GiB);
  for (let index = 0; index < extents; index++) writeSync(file, block, 0, block.length, index * step);
  closeSync(file);
  return path;
}
