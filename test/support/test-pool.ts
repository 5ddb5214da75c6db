import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createPool, openPool, type Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { runDirectory } from './run-directory.ts';

let count = 0;

export interface TestPool extends AsyncDisposable {
  readonly pool: Pool;
  /** Where it is mounted. */
  readonly path: string;
  /** The file under it. */
  readonly file: string;
  /** A directory outside the pool for whatever a test needs. */
  readonly scratch: string;
  /** Opens it once more, as another process would. */
  reopen(): Promise<Pool>;
}

export interface TestPoolOptions {
  /** btrfs when absent. */
  readonly driver?: 'btrfs' | 'xfs';
  readonly bytes?: number;
  readonly inline?: boolean;
  /** Where the file and the mount point are made; a directory of the run when absent. */
  readonly directory?: string;
}

/** A real pool on a loop file of its own. Disposing of it fails when anything was left in staging or is still held. */
export async function makeTestPool(options: TestPoolOptions = {}): Promise<TestPool> {
  const directory = options.directory ?? join(runDirectory(), `pool-${process.pid}-${++count}`);
  const path = join(directory, 'mnt');
  const file = join(directory, 'pool.img');
  createPool({ path, driver: options.driver ?? 'btrfs', file, bytes: options.bytes ?? 8 * 2 ** 30 });
  const opened: Pool[] = [];
  const open = async (): Promise<Pool> => {
    const pool = await openPool(path, { inline: options.inline ?? true, lockTimeout: 20_000 });
    opened.push(pool);
    return pool;
  };
  const pool = await open();
  return {
    pool,
    path,
    file,
    scratch: directory,
    reopen: open,
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each.close();
      const left = readdirSync(join(path, '.staging'));
      runProgram('umount', ['--', path]);
      rmSync(directory, { recursive: true, force: true });
      if (left.length > 0) throw new Error(`left in staging: ${left.join(', ')}`);
    },
  };
}
