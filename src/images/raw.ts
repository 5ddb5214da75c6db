import { createHash } from 'node:crypto';
import { read as readCallback, write as writeCallback } from 'node:fs';
import { promisify } from 'node:util';
import { attempt } from '../linux/system-calls.ts';

const read = promisify(readCallback);
const write = promisify(writeCallback);

const chunkBytes = 4 * 2 ** 20;
/** Zeros are left out in pieces of this size: smaller holes would only make more extents. */
const holeBytes = 64 * 1024;
const zeros = Buffer.alloc(holeBytes);

export interface Progress {
  readonly onFraction: (fraction: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** Copies a disk; what is a hole or zeros in the source takes no space in the target, which must be empty and long enough. */
export async function copySparse(
  source: number,
  target: number,
  bytes: number,
  progress: Progress,
): Promise<void> {
  const buffer = Buffer.alloc(chunkBytes);
  for (
    let position = nextData(source, 0, bytes);
    position < bytes;
    position = nextData(source, position, bytes)
  ) {
    progress.signal?.throwIfAborted();
    const { bytesRead } = await read(source, buffer, 0, Math.min(chunkBytes, bytes - position), position);
    if (bytesRead === 0) return;
    await writeWithoutZeros(target, buffer.subarray(0, bytesRead), position);
    position += bytesRead;
    progress.onFraction(position / bytes);
  }
}

/** The SHA-256 of a file, in hex. */
export async function hashFile(fd: number, bytes: number, progress: Progress): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(chunkBytes);
  for (let position = 0; position < bytes; ) {
    progress.signal?.throwIfAborted();
    const { bytesRead } = await read(fd, buffer, 0, chunkBytes, position);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
    progress.onFraction(position / bytes);
  }
  return hash.digest('hex');
}

async function writeWithoutZeros(target: number, data: Buffer, position: number): Promise<void> {
  for (let start = 0; start < data.length; ) {
    let end = start;
    while (end < data.length && !isHole(data, end)) end += holeBytes;
    end = Math.min(end, data.length);
    for (let at = start; at < end; )
      at += (await write(target, data, at, end - at, position + at)).bytesWritten;
    start = end + (end < data.length ? holeBytes : 0);
  }
}

function isHole(data: Buffer, at: number): boolean {
  const piece = data.subarray(at, at + holeBytes);
  return piece.equals(piece.length === holeBytes ? zeros : zeros.subarray(0, piece.length));
}

/** Where the next data of a sparse file begins, at or after a position; its end when only a hole is left. Bytes. */
export function nextData(fd: number, position: number, end: number): number {
  const SEEK_DATA = 3;
  const ENXIO = 6; // no data behind this position
  const next = attempt('lseek', 'source', fd, position, SEEK_DATA);
  if (next === -ENXIO) return end;
  return next < 0 ? position : next; // a file system that can't tell has everything read
}
