import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../../src/linux/programs.ts';
import { type FileSystem, fileSystems } from '../conformance/backends.ts';
import { runDirectory } from '../support/run-directory.ts';
import type { TestPool } from '../support/test-pool.ts';

let count = 0;

/**
 * A pool whose file is in memory, for tests that kill processes and cut no power: what they look at is never on a disk, and thousands
 * of commits do not wait for one.
 */
export async function poolInMemory(
  backend: Pick<FileSystem, 'makePool'> | undefined = fileSystems[0],
): Promise<TestPool> {
  if (!backend) throw new Error('There is no file system to test on.');
  const directory = join(runDirectory(), `memory-${++count}`);
  mkdirSync(directory);
  runProgram('mount', ['-t', 'tmpfs', '-o', 'mode=0755', 'tmpfs', directory]);
  const home = await backend.makePool({ directory: join(directory, 'pool') });
  return {
    ...home,
    async [Symbol.asyncDispose]() {
      await home[Symbol.asyncDispose]();
      runProgram('umount', ['--', directory]);
      rmdirSync(directory);
    },
  };
}
