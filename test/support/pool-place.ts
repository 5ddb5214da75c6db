import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from './devices.ts';

export interface PoolPlace extends Disposable {
  readonly directory: string;
  /** For the pool; not there yet. */
  readonly path: string;
  readonly file: string;
  /** What a machine has at boot, for this case alone. */
  readonly boot: { readonly fstab: string; readonly unitDirectory: string };
}

/** A place for a pool. What is mounted in it at the end of the case is unmounted, whatever became of the pool. */
export function poolPlace(directory: string = scratchDirectory('place')): PoolPlace {
  const unitDirectory = join(scratchDirectory('boot'), 'units');
  mkdirSync(unitDirectory);
  return {
    directory,
    path: join(directory, 'mnt'),
    file: join(directory, 'pool.img'),
    boot: { fstab: join(unitDirectory, '..', 'fstab'), unitDirectory },
    [Symbol.dispose]() {
      for (const { mountPoint } of readMounts().reverse())
        if (mountPoint.startsWith(`${directory}/`)) runProgram('umount', ['--', mountPoint]);
    },
  };
}
