import { join } from 'node:path';
import { expect } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { writePattern } from '../support/content.ts';
import { sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { type Suite, staged } from './suite.ts';

const MiB = 2 ** 20;

export interface ImageFiles {
  /** A path for a file that no other case uses. */
  file(label: string): string;
  /** A raw image with a pattern at its start, a hole, and a pattern behind it. */
  rawImage(bytes: number, seed: number): string;
  /** The same as qcow2, with options of qemu-img. */
  qcow2Image(raw: string, ...options: string[]): string;
  /** An import that must fail, and leave nothing: no name, no entry, no space. Returns what it says. */
  refused(
    source: string,
    code: Parameters<typeof refusal>[1],
    options?: Parameters<Suite['pool']['import']>[2],
  ): Promise<string>;
}

/** What the cases of images need, in the scratch directory of their suite. */
export function imageFiles(suite: Suite): ImageFiles {
  const file = (label: string): string => join(suite.scratch, `${suite.name('image')}.${label}`);

  const rawImage = (bytes: number, seed: number): string => {
    const path = sparseFile(bytes, file('raw'));
    writePattern(path, seed, 0, Math.min(bytes, 192 * 1024));
    if (bytes > 4 * MiB) writePattern(path, seed + 1, bytes - MiB, MiB);
    return path;
  };

  const qcow2Image = (raw: string, ...options: string[]): string => {
    const path = file('qcow2');
    runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, path]);
    return path;
  };

  const refused = async (
    source: string,
    code: Parameters<typeof refusal>[1],
    options: Parameters<Suite['pool']['import']>[2] = {},
  ): Promise<string> => {
    const name = suite.name('t');
    const before = await suite.pool.list();
    const error = await refusal(() => suite.pool.import(name, source, options), code);
    expect(await suite.pool.list()).toEqual(before);
    expect(staged(suite.home)).toEqual([]);
    return error.message;
  };

  return { file, rawImage, qcow2Image, refused };
}
