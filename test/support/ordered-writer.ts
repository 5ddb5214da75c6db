import { openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A program that writes the same number into several files, one after the other and each in one call, never flushes anything, says which
 * number is in all of them, and begins anew with the next.
 * Usage: ordered-writer DIRECTORY ACKNOWLEDGEMENTS
 */

export const files: readonly string[] = Array.from({ length: 6 }, (_, index) => `file-${index}`);
const words = 2 ** 16;

if (process.argv[1] === import.meta.filename) write(process.argv[2] ?? '', process.argv[3] ?? '');

function write(directory: string, acknowledgements: string): void {
  const open = files.map((name) => openSync(join(directory, name), 'w'));
  const answer = openSync(acknowledgements, 'w');
  for (let round = 1; ; round++) {
    const block = new Uint32Array(words).fill(round);
    for (const fd of open) writeSync(fd, block, 0, block.byteLength, 0);
    writeSync(answer, new Uint32Array([round]), 0, 4, 0);
    if (round === 1) process.stdout.write('ready\n');
  }
}

/** The last number that is in all files, as the program says. */
export function acknowledged(path: string): number {
  return numbersIn(path)[0] ?? 0;
}

/** What can't be in files that were written so, at any instant; empty when there is nothing. */
export function disorder(directory: string, atLeast: number): string[] {
  const found: string[] = [];
  let before: number | undefined;
  let first: number | undefined;
  for (const name of files) {
    const numbers = numbersIn(join(directory, name));
    const [lowest, highest] = [Math.min(...spread(numbers)), Math.max(...spread(numbers))];
    if (numbers.length !== words || lowest !== highest)
      found.push(`${name} is torn: ${lowest} to ${highest}`);
    first ??= highest;
    if (before !== undefined && highest > before) found.push(`${name} has ${highest} after ${before}`);
    if (highest < first - 1) found.push(`${name} has ${highest} where the first has ${first}`);
    if (highest < atLeast) found.push(`${name} has ${highest}, and ${atLeast} was acknowledged`);
    before = highest;
  }
  return found;
}

function spread(numbers: Uint32Array): number[] {
  return [...new Set(numbers)];
}

function numbersIn(path: string): Uint32Array {
  const bytes = new Uint8Array(readFileSync(path));
  return new Uint32Array(bytes.buffer, 0, Math.floor(bytes.byteLength / 4));
}
