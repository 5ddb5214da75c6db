import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
} from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { CoppiceError } from '../model/errors.ts';
import { Descriptor } from './files.ts';
import { hasErrno } from './system-calls.ts';

export interface TrustedFile extends Disposable {
  /** Opened without a right to read or write (`O_PATH`): a name that nobody can change any more. */
  readonly fd: number;
  /** The same as a path, for who needs one: what is opened by it is this file, whatever its name leads to by now. */
  readonly path: string;
  readonly status: BigIntStats;
}

/**
 * Opens what a path leads to, if nobody but root, us and the owner of the file can have put it there. Each directory on the way, also
 * on that of a symbolic link, belongs to one of them and can be written by nobody else; in one like /tmp, where everybody may
 * make files (sticky), what lies there must belong to root or us. What is given to a file that others could exchange would be
 * theirs to answer.
 * @param what names the file in a sentence: `the socket`
 * @throws CoppiceError invalid_argument, which names the directory or link; not_found; permission_denied
 */
export function openTrusted(path: string, what: string): TrustedFile {
  if (!isAbsolute(path) || path.includes('\0')) {
    throw new CoppiceError(
      'invalid_argument',
      `The path of ${what} must begin with "/", and not be "${path}".`,
    );
  }
  try {
    const { realPath, owners } = follow(path, what);
    const O_PATH = 0o10000000;
    const fd = openSync(realPath, O_PATH | constants.O_NOFOLLOW);
    const file = new Descriptor(fd, closeSync);
    try {
      const status = fstatSync(fd, { bigint: true });
      // A directory of the file's owner may have been exchanged for a link since it was looked at.
      if (readlinkSync(`/proc/self/fd/${fd}`) !== realPath) throw changed(path, what);
      requireOwners(owners, status, what);
      return { fd, path: `/proc/self/fd/${fd}`, status, [Symbol.dispose]: () => file[Symbol.dispose]() };
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no ${path}, which should be ${what}.`, { cause: error });
    if (hasErrno(error, 'EACCES', 'EPERM'))
      throw new CoppiceError('permission_denied', `You may not look at ${path}, which should be ${what}.`, {
        cause: error,
      });
    throw error;
  }
}

/**
 * Makes sure that nobody but root and us can change a file, or the names in a directory, or put another in its place.
 * @throws CoppiceError as `openTrusted`
 */
export function requireOwn(path: string, what: string): void {
  using file = openTrusted(path, what);
  const { mode, uid } = file.status;
  if (isTrusted(uid) && (mode & 0o022n) === 0n) return;
  throw unsafe(`${path} can be written by others than root`, what);
}

interface Owned {
  readonly path: string;
  readonly owner: bigint;
}

interface Way {
  readonly realPath: string;
  /** The directories on the way that belong to neither root nor us. */
  readonly owners: readonly Owned[];
}

/** Goes the way step by step, as the kernel would, and looks at each. */
function follow(path: string, what: string): Way {
  const owners: Owned[] = [];
  let directory = '/';
  let links = 0;
  let status = lstatSync('/', { bigint: true });
  const steps = path.split('/').filter(Boolean);
  for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
    if (step === '.') continue;
    if (step === '..') {
      directory = dirname(directory);
      status = lstatSync(directory, { bigint: true });
      continue;
    }
    if (status.isDirectory()) requireDirectory(directory, status, what, owners);
    const entry = join(directory, step);
    const next = lstatSync(entry, { bigint: true });
    if (isSticky(status) && !isTrusted(next.uid)) {
      throw unsafe(
        `${entry} lies in a directory where everybody may make files, and belongs to user ${next.uid}`,
        what,
      );
    }
    if (next.isSymbolicLink()) {
      if (++links > 40) throw unsafe(`${path} goes through too many links`, what);
      const target = readlinkSync(entry);
      steps.unshift(...target.split('/').filter(Boolean));
      if (isAbsolute(target)) directory = '/';
      status = lstatSync(directory, { bigint: true });
    } else {
      directory = entry;
      status = next;
    }
  }
  return { realPath: directory, owners };
}

function requireDirectory(path: string, status: BigIntStats, what: string, owners: Owned[]): void {
  const others = 0o022n;
  if ((status.mode & others) !== 0n && !isSticky(status)) {
    throw unsafe(
      `others than its owner can write to the directory ${path} (mode ${(status.mode & 0o7777n).toString(8)})`,
      what,
    );
  }
  if (!isTrusted(status.uid)) owners.push({ path, owner: status.uid });
}

/** Whose directory it is could put his own file there, but no one else's. */
function requireOwners(owners: readonly Owned[], { uid }: BigIntStats, what: string): void {
  const other = owners.find(({ owner }) => owner !== uid);
  if (!other) return;
  throw unsafe(
    `the directory ${other.path} belongs to user ${other.owner}, and what lies there to user ${uid}`,
    what,
  );
}

function isSticky({ mode }: BigIntStats): boolean {
  return (mode & 0o1000n) !== 0n && (mode & 0o022n) !== 0n;
}

function isTrusted(uid: bigint): boolean {
  return uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
}

function unsafe(why: string, what: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    `Refused to use ${what}: ${why}, so somebody else could have put it there; move it to a directory that only its owner can write to.`,
  );
}

function changed(path: string, what: string): CoppiceError {
  return unsafe(`${path} was exchanged just now`, what);
}
