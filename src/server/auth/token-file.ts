import { closeSync, constants, fsyncSync, openSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Descriptor, flush } from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { requireOwn } from '../../linux/trusted-path.ts';
import { CoppiceError } from '../../model/errors.ts';
import { ensureDirectory } from '../own-directory.ts';

/** Milliseconds for which somebody else may be at work on the file, and between two looks. */
const patience = 10_000;
const usualPause = 20;

interface Changed<T> {
  /** What the file has from now on. */
  readonly text: string;
  readonly result: T;
}

/**
 * Changes the file of tokens: one process at a time, in one step, and durably. A crash leaves the old file or the new one.
 * @throws CoppiceError busy when another process does not finish, invalid_argument when others can write to the directory
 */
export async function changeTokenFile<T>(file: string, change: () => Changed<T>): Promise<T> {
  const directory = dirname(file);
  ensureDirectory(directory, 0o755, 'the directory of the list of tokens');
  requireOwn(resolve(directory), 'the list of tokens');
  // A file of its own: that of the tokens is replaced, and the directory could be locked by everybody who may look into it.
  const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
  using guard = new Descriptor(openSync(`${file}.lock`, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600));
  for (const began = performance.now(); !lock(guard.fd, 'exclusive', false); await pause(usualPause))
    if (performance.now() - began > patience)
      throw new CoppiceError('busy', `Another process is changing ${file} and does not finish; try again.`);
  const { text, result } = change();
  replace(file, text);
  return result;
}

/** Whatever stands there is replaced, and nothing is written through a link. */
function replace(file: string, text: string): void {
  const unfinished = `${file}.new`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  removeIfAny(unfinished); // of a run that died
  const fd = openSync(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
    renameSync(unfinished, file);
  } catch (error) {
    removeIfAny(unfinished);
    throw error;
  } finally {
    closeSync(fd);
  }
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  flush(directory.fd);
}

function removeIfAny(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
