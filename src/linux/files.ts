import { closeSync, constants, readSync } from 'node:fs';
import { attempt, call, closeDescriptor, hasErrno, SystemError } from './system-calls.ts';

/**
 * Files and directories relative to an open directory. Paths never leave it, never follow a symbolic link and never cross a
 * mount: what a hostile or mistaken link in a pool points at is not reached.
 */

const { O_RDONLY, O_DIRECTORY, O_RDWR, O_CREAT, O_EXCL } = constants;
const O_CLOEXEC = 0o2000000;
const ENOENT = 2;
const EAGAIN = 11;
const EINVAL = 22;
const resolveBeneathWithoutLinks = 0x0e;
const resolveBeneathWithoutLinksOrMounts = 0x0f;

/** An open file descriptor that closes itself at the end of a `using` block. */
export class Descriptor implements Disposable {
  readonly fd: number;
  readonly #close: (fd: number) => void;
  #open = true;

  /**
   * @param close closes it, and has to be of the kind that opened it: of what Node has opened in a worker thread it keeps a list,
   * and closes at the end of the thread what it has not closed itself, whatever the number means by then
   */
  constructor(fd: number, close: (fd: number) => void = closeSync) {
    this.fd = fd;
    this.#close = close;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#close(this.fd);
  }
}

/**
 * Runs a step with something that was just opened, and closes that if the step fails. A DisposableStack would do, but each costs
 * as much as a system call, and a clone would need four.
 */
export function closingOnFailure<T>(opened: Disposable, step: () => T): T {
  try {
    return step();
  } catch (error) {
    opened[Symbol.dispose]();
    throw error;
  }
}

/** The three 64-bit fields of struct open_how, as halves; used again by every call, which is over when it returns. */
const how = new Uint32Array(6);

export function openAt(directory: number, path: string, flags: number, mode = 0): Descriptor {
  const result = attemptOpen(directory, path, flags, mode);
  if (result >= 0) return new Descriptor(result, closeDescriptor);
  throw new SystemError(-result, 'openat2', path);
}

/** The same where something may be mounted on the way: in a directory of somebody else's. */
export function openBeneath(directory: number, path: string, flags: number): Descriptor {
  const result = attemptOpen(directory, path, flags, 0, resolveBeneathWithoutLinks);
  if (result >= 0) return new Descriptor(result, closeDescriptor);
  throw new SystemError(-result, 'openat2', path);
}

function attemptOpen(
  directory: number,
  path: string,
  flags: number,
  mode = 0,
  resolve = resolveBeneathWithoutLinksOrMounts,
): number {
  how[0] = flags | O_CLOEXEC;
  how[2] = mode;
  how[4] = resolve;
  for (;;) {
    const result = attempt('openat2', path, directory, path, how, how.byteLength);
    // The kernel could not prove that the path stays beneath because something was renamed meanwhile; openat2(2) says: retry.
    if (result !== -EAGAIN) return result;
  }
}

export function openDirectoryAt(directory: number, path: string): Descriptor {
  return openAt(directory, path, O_RDONLY | O_DIRECTORY);
}

/** The same, or undefined when there is nothing of that name. Makes no error for that: a listing asks for 20,000. */
export function openDirectoryIfAny(directory: number, path: string): Descriptor | undefined {
  const result = attemptOpen(directory, path, O_RDONLY | O_DIRECTORY);
  if (result >= 0) return new Descriptor(result, closeDescriptor);
  if (result === -ENOENT) return undefined;
  throw new SystemError(-result, 'openat2', path);
}

/**
 * Whether the kernel refused to go on because a link, a mount or a file is where a directory should be: somebody has put it there,
 * and it is neither followed nor ours.
 */
export function standsInTheWay(error: unknown): boolean {
  return error instanceof SystemError && hasErrno(error, 'EXDEV', 'ELOOP', 'ENOTDIR', 'EISDIR');
}

export function openFileAt(directory: number, path: string, access: 'read' | 'write'): Descriptor {
  return openAt(directory, path, access === 'read' ? O_RDONLY : O_RDWR);
}

export function createFileAt(directory: number, path: string, mode = 0o600): Descriptor {
  return openAt(directory, path, O_RDWR | O_CREAT | O_EXCL, mode);
}

/**
 * A file that has no name yet, so that nothing of it is left if we die before it gets one; undefined where the file system can't do
 * that.
 */
export function createUnnamedAt(directory: number, mode = 0o600): Descriptor | undefined {
  const O_TMPFILE = 0o20000000 | O_DIRECTORY;
  try {
    return openAt(directory, '.', O_TMPFILE | O_RDWR, mode);
  } catch (error) {
    if (hasErrno(error, 'EOPNOTSUPP', 'EISDIR', 'EINVAL')) return undefined;
    throw error;
  }
}

/** Gives it its name; @throws SystemError EEXIST when that is taken. */
export function nameAt(fd: number, directory: number, name: string): void {
  const [AT_FDCWD, AT_SYMLINK_FOLLOW] = [-100, 0x400];
  requireName(name, 'linkat');
  call('linkat', name, AT_FDCWD, descriptorPath(fd), directory, name, AT_SYMLINK_FOLLOW);
}

/** What makes, moves and removes names takes no paths: the kernel would follow one to wherever it leads. */
function requireName(name: string, syscall: string): void {
  const EINVAL = 22;
  if (name === '' || name === '.' || name === '..' || name.includes('/'))
    throw new SystemError(EINVAL, syscall, name);
}

export function makeDirectoryAt(directory: number, name: string, mode = 0o700): void {
  requireName(name, 'mkdirat');
  call('mkdirat', name, directory, name, mode);
}

/** The same where a directory of that name is as good. */
export function ensureDirectoryAt(directory: number, name: string, mode: number): void {
  const EEXIST = 17;
  requireName(name, 'mkdirat');
  const result = attempt('mkdirat', name, directory, name, mode);
  if (result < 0 && result !== -EEXIST) throw new SystemError(-result, 'mkdirat', name);
}

/** @throws SystemError EEXIST when the name is taken */
export function makeLinkAt(directory: number, name: string, target: string): void {
  requireName(name, 'symlinkat');
  call('symlinkat', name, target, directory, name);
}

export function removeFileAt(directory: number, name: string): void {
  requireName(name, 'unlinkat');
  call('unlinkat', name, directory, name, 0);
}

export function removeDirectoryAt(directory: number, name: string): void {
  const AT_REMOVEDIR = 0x200;
  requireName(name, 'unlinkat');
  call('unlinkat', name, directory, name, AT_REMOVEDIR);
}

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

/** Moves a name; @throws SystemError EEXIST when the new name is taken. */
export function moveAt(fromDirectory: number, from: string, toDirectory: number, to: string): void {
  requireName(from, 'renameat2');
  requireName(to, 'renameat2');
  const result = attempt('renameat2', to, fromDirectory, from, toDirectory, to, RENAME_NOREPLACE);
  if (result >= 0) return;
  if (result !== -EINVAL) throw new SystemError(-result, 'renameat2', to);
  // ZFS before 2.2 can only replace. A file may have two names for a moment, and a link takes none that is taken.
  call('linkat', to, fromDirectory, from, toDirectory, to, 0);
  removeFileAt(fromDirectory, from);
}

/** Exchanges two names in one atomic step. */
export function exchangeAt(directoryA: number, a: string, directoryB: number, b: string): void {
  requireName(a, 'renameat2');
  requireName(b, 'renameat2');
  call('renameat2', `${a} and ${b}`, directoryA, a, directoryB, b, RENAME_EXCHANGE);
}

export function setOwner(fd: number, uid: number, gid: number): void {
  call('fchown', `${uid}:${gid}`, fd, uid, gid);
}

export function setMode(fd: number, mode: number): void {
  call('fchmod', mode.toString(8), fd, mode);
}

export function flush(fd: number): void {
  call('fsync', 'data', fd);
}

/** Sets the times of an open file or directory to now. */
export function touch(fd: number): void {
  const AT_EMPTY_PATH = 0x1000;
  call('utimensat', 'times', fd, '', null, AT_EMPTY_PATH);
}

/**
 * Writes the dirty data of a file to its device and waits for that; the file's own record of where it lies, and the cache of the
 * device, are left to the next commit.
 */
export function writeOut(fd: number): void {
  const waitBeforeWriteWaitAfter = 7;
  call('sync_file_range', 'data', fd, 0, 0, waitBeforeWriteWaitAfter);
}

export function resizeFile(fd: number, bytes: number): void {
  call('ftruncate', 'file', fd, bytes);
}

/** Reserves every block of a file. @throws SystemError ENOSPC */
export function allocateFile(fd: number, bytes: number): void {
  call('fallocate', 'file', fd, 0, 0, bytes);
}

/** Whether a file has this text (of one byte a character) at an offset. */
export function beginsWith(fd: number, text: string, offset: number): boolean {
  const bytes = Buffer.alloc(text.length);
  readSync(fd, bytes, 0, bytes.length, offset);
  return bytes.toString('latin1') === text;
}

/** A path by which any API reaches an open descriptor. */
export function descriptorPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}
