import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

/** Disks whose every byte is known. */

const KiB = 1024;
export const diskBytes: number = 1024 * KiB;

/** Data that looks random and depends only on the seed: it starts, ends, and has a hole between. */
export function disk(seed: string): Buffer {
  const content = Buffer.alloc(diskBytes);
  noise(seed, 256 * KiB).copy(content);
  noise(`${seed} end`, 64 * KiB).copy(content, diskBytes - 64 * KiB);
  return content;
}

export function noise(seed: string, bytes: number): Buffer {
  const key = createHash('md5').update(seed).digest();
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** The disk after `overwrite`. */
export function overwritten(content: Buffer, seed: string): Buffer {
  const changed = Buffer.from(content);
  noise(seed, 96 * KiB).copy(changed, overwriteAt);
  return changed;
}

const overwriteAt = 128 * KiB;

/** Writes into a disk as its guest would, and flushes it if asked: what was flushed must never be lost. */
export function overwrite(path: string, seed: string, flush = true): void {
  const fd = openSync(path, 'r+');
  try {
    writeSync(fd, noise(seed, 96 * KiB), 0, 96 * KiB, overwriteAt);
    if (flush) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The disk with zeros behind it. */
export function extended(content: Buffer, bytes: number): Buffer {
  return Buffer.concat([content, Buffer.alloc(bytes - content.length)]);
}

export function digest(content: Buffer): string {
  return createHash('sha1').update(content).digest('hex').slice(0, 12);
}
