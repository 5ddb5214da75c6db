import { constants, readdirSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import type { User } from '../../linux/connect-as.ts';
import { isRegularFile, statusAt, statusIfAny } from '../../linux/file-status.ts';
import { descriptorPath, flush, openBeneath, openFileAt, removeFileAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { own } from './amend.ts';
import { pathBelow } from './data-directory.ts';

export interface WalRange {
  readonly timeline: number;
  /** The first byte, and the one after the last. */
  readonly start: bigint;
  readonly stop: bigint;
  readonly segmentBytes: number;
}

/** The names of the files that hold a range of the WAL. */
export function walFiles({ timeline, start, stop, segmentBytes }: WalRange): string[] {
  const size = BigInt(segmentBytes);
  const names: string[] = [];
  // A position on a boundary is the end of the file before it.
  for (let segment = start / size; segment * size < stop; segment++) {
    const perHigh = 0x1_0000_0000n / size;
    const numbers = [BigInt(timeline), segment / perHigh, segment % perHigh];
    names.push(numbers.map((number) => number.toString(16).toUpperCase().padStart(8, '0')).join(''));
  }
  return names;
}

/** A file of WAL. */
export const walName: RegExp = /^[0-9A-F]{24}$/;

/**
 * Copies files of WAL whole from an open directory into another. Who owns the cluster may have put links and files of others there, so
 * only his own regular files are taken.
 * @param bytes how large each must be; any when absent
 * @throws CoppiceError io_error where one is missing or of another size
 */
export async function copyWal(
  from: number,
  to: number,
  names: readonly string[],
  { owner, bytes, signal }: { readonly owner: User; readonly bytes?: number; readonly signal: AbortSignal },
): Promise<void> {
  for (const name of names) {
    signal.throwIfAborted();
    await copyOne(from, to, name, owner, bytes);
  }
  const histories = readdirSync(pathBelow(from, '.')).filter((name) => /^[0-9A-F]{8}\.history$/.test(name));
  for (const name of histories) await copyOne(from, to, name, owner);
}

async function copyOne(from: number, to: number, name: string, owner: User, bytes?: number): Promise<void> {
  try {
    using source = openBeneath(from, name, constants.O_RDONLY | constants.O_NONBLOCK);
    const status = statusAt(source.fd, '');
    if (!isRegularFile(status) || status.uid !== owner.uid || (bytes !== undefined && status.bytes !== bytes))
      throw unusable(name);
    if (statusIfAny(to, name)) removeFileAt(to, name);
    const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;
    await copyFile(descriptorPath(source.fd), pathBelow(to, name), COPYFILE_EXCL | COPYFILE_FICLONE);
    using copy = openFileAt(to, name, 'write');
    own(copy.fd, owner, 0o600);
    flush(copy.fd);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ELOOP', 'EXDEV')) throw unusable(name, error);
    throw error;
  }
}

function unusable(name: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'io_error',
    `The WAL file ${name}, without which the snapshot could not be recovered, is not there or not whole, although the server was told to keep it; no snapshot was taken.`,
    { cause },
  );
}
