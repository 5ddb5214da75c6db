import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { call } from '../../src/linux/system-calls.ts';

/** Bytes that look random, the same for the same seed at every run. */
export function patternBytes(seed: number, length: number): Buffer {
  const key = createHash('sha256').update(`pattern ${seed}`).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Writes a pattern into a file that exists, and flushes it; returns what it wrote. */
export function writePattern(path: string, seed: number, offset: number, length: number): Buffer {
  const bytes = patternBytes(seed, length);
  writeAt(path, bytes, offset);
  return bytes;
}

export function writeAt(path: string, bytes: Buffer, offset: number): void {
  const fd = openSync(path, 'r+');
  try {
    for (let at = 0; at < bytes.length; )
      at += writeSync(fd, bytes, at, Math.min(bytes.length - at, 2 ** 20), offset + at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The SHA-256 of a whole file, in hex. */
export function digest(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(2 ** 20);
  const fd = openSync(path, 'r');
  try {
    for (;;) {
      const length = readSync(fd, buffer, 0, buffer.length, null);
      if (length === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, length));
    }
  } finally {
    closeSync(fd);
  }
}

/** The size of a disk in bytes, also where it is a block device. */
export function diskBytes(path: string): number {
  const fd = openSync(path, 'r');
  try {
    return call('lseek', path, fd, 0, 2);
  } finally {
    closeSync(fd);
  }
}

/** The SHA-256 that a disk of this size has when it holds these bytes at its start and zeros behind. */
export function digestOf(start: Buffer, bytes: number = start.length): string {
  return createHash('sha256')
    .update(start)
    .update(Buffer.alloc(bytes - start.length))
    .digest('hex');
}
