import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { writePattern } from '../support/content.ts';
import { scratchDirectory, sparseFile } from '../support/devices.ts';
import { coppice, type Ran } from './command.ts';

const MiB = 2 ** 20;

export interface CommandLinePool {
  /** Outside the pool, for what else a case makes. */
  readonly directory: string;
  readonly pool: string;
  /** A raw image of 64 MiB; the template `base` is made from it. */
  readonly image: string;
}

/** A directory for the cases of a file. What they mount in it is unmounted in the end. */
export function commandLineDirectory(): string {
  const directory = scratchDirectory('cli');
  afterAll(() => {
    for (const { mountPoint } of readMounts().reverse())
      if (mountPoint.startsWith(directory)) runProgram('umount', ['--', mountPoint]);
  });
  return directory;
}

/** A pool in such a directory, with a template `base`. */
export function commandLinePool(): CommandLinePool {
  const directory = commandLineDirectory();
  const pool = join(directory, 'pool');
  const image = join(directory, 'image.raw');
  beforeAll(() => {
    sparseFile(64 * MiB, image);
    writePattern(image, 1, 0, 2 * MiB);
    done(coppice(pool, 'pool', 'create', '--size', '8G'));
    done(coppice(pool, 'import', 'base', image));
  });
  return { directory, pool, image };
}

/** What it printed; everything else must be as it is when all went well. */
export function done(ran: Ran): string {
  expect(ran.stderr.replace(/^(To mount it at every boot:|coppice: warning:) .*\n/gm, '')).toBe('');
  expect(ran.code).toBe(0);
  return ran.stdout;
}

/** What it said about its failure, on standard error only. */
export function refused(ran: Ran, code: number): string {
  expect(ran.stdout).toBe('');
  expect(ran.stderr).toMatch(/^coppice: .*\n$/s);
  expect(ran.code).toBe(code);
  return ran.stderr;
}
