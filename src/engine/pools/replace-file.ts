import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Descriptor, flush } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';

/** Replaces a file whole: a crash leaves the old one or the new one. Owner and mode stay. */
export function replaceFile(file: string, text: string, mode: number): void {
  const temporary = join(dirname(file), `.${basename(file)}.coppice-new`);
  try {
    unlinkSync(temporary); // of a run that died
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
  const fd = openSync(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  );
  try {
    copyOwner(file, fd);
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, file);
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  flush(directory.fd);
}

function copyOwner(file: string, fd: number): void {
  try {
    const original = openSync(file, 'r');
    const { uid, gid, mode } = fstatSync(original);
    closeSync(original);
    fchownSync(fd, uid, gid);
    fchmodSync(fd, mode & 0o7777);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

export function readIfAny(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
