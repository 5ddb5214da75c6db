import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, constants, openSync } from 'node:fs';
import { Descriptor } from '../../../linux/files.ts';
import { inodeFlags, readInodeFlags } from '../../../linux/inode-flags.ts';
import { hasErrno } from '../../../linux/system-calls.ts';
import { walkTree } from '../../../linux/walk.ts';

/** What is in a directory tree that is to be adopted. */
export interface TreeLook {
  readonly entries: number;
  /** Of all files. */
  readonly bytes: number;
  /** What tells this state of the tree from every other: nobody can set the time of a change back. */
  readonly fingerprint: string;
  /** Directories on another file system or subvolume. */
  readonly foreign: readonly string[];
  /** Directories that are nodatacow in the copy, where any is. */
  readonly nodatacow: ReadonlySet<string>;
  /** Files that would be in a directory of the other kind, and the sum of their bytes. */
  readonly unlike: readonly string[];
  readonly unlikeBytes: number;
  /** A file with data whose directory is of its own kind: whether this one can be shared says whether the others can. */
  readonly sample:
    | { readonly reach: string; readonly bytes: number; readonly isNodatacow: boolean }
    | undefined;
  /** Files with names outside of the tree, which keep the file that was. */
  readonly linkedOutside: readonly string[];
  /** What has attributes of chattr that a copy loses. */
  readonly withFlags: readonly string[];
}

/** @param wanted directories whose files are to be overwritten in place, beside those that are so already */
export function lookAtTree(root: number, wanted: readonly string[]): TreeLook {
  const hash = createHash('sha256');
  const [foreign, unlike, withFlags]: [string[], string[], string[]] = [[], [], []];
  const nodatacow = new Set<string>();
  const names = new Map<bigint, { path: string; seen: bigint; links: bigint }>();
  let [entries, bytes, unlikeBytes, sample]: [number, number, number, TreeLook['sample']] = [
    0,
    0,
    0,
    undefined,
  ];
  for (const { path, reach, status, isForeign } of walkTree(root)) {
    const name = path.toString('latin1');
    const shown = path.toString('utf8') || '.';
    entries++;
    hash.update(path).update(fingerprintOf(status, path.length === 0));
    if (isForeign) {
      foreign.push(shown);
      continue;
    }
    const flags = status.isDirectory() || status.isFile() ? flagsOf(reach) : 0;
    if ((flags & keptByNobody) !== 0) withFlags.push(shown);
    const isOwn = (flags & inodeFlags.noCopyOnWrite) !== 0;
    if (status.isDirectory()) {
      if (isOwn || wanted.some((each) => isAtOrBelow(name, bytesOf(each)))) nodatacow.add(name);
      continue;
    }
    if (!status.isFile()) continue;
    bytes += Number(status.size);
    if (status.nlink > 1n) count(names, status, shown);
    if (status.size === 0n) continue;
    if (isOwn !== nodatacow.has(directoryOf(name))) {
      unlike.push(shown);
      unlikeBytes += Number(status.size);
    } else {
      sample ??= { reach: name, bytes: Number(status.size), isNodatacow: isOwn };
    }
  }
  const linkedOutside = [...names.values()].flatMap(({ path, seen, links }) => (seen < links ? [path] : []));
  const fingerprint = hash.digest('hex');
  return {
    entries,
    bytes,
    fingerprint,
    foreign,
    nodatacow,
    unlike,
    unlikeBytes,
    sample,
    linkedOutside,
    withFlags,
  };
}

/** What tells this state of a tree from every other, and nothing else. */
export function fingerprintTree(root: number): string {
  const hash = createHash('sha256');
  for (const { path, status } of walkTree(root))
    hash.update(path).update(fingerprintOf(status, path.length === 0));
  return hash.digest('hex');
}

/** The name of its directory, as `nodatacow` has it; one byte a character. */
export function directoryOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end < 0 ? '' : path.slice(0, end);
}

/** Immutable and append-only, which stand in the way of a removal, too. */
const keptByNobody = 0x30;

/** To put the directory itself aside changes its record, and what is in it has its own. */
function fingerprintOf({ ino, ctimeNs, mtimeNs, size, mode }: BigIntStats, isRoot: boolean): string {
  return `\0${ino} ${isRoot ? 0 : ctimeNs} ${mtimeNs} ${size} ${mode}\0`;
}

function count(
  names: Map<bigint, { path: string; seen: bigint; links: bigint }>,
  { ino, nlink }: BigIntStats,
  path: string,
): void {
  const known = names.get(ino);
  if (known) known.seen++;
  else names.set(ino, { path, seen: 1n, links: nlink });
}

export function flagsOf(reach: Buffer): number {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    using file = new Descriptor(openSync(reach, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), closeSync);
    return readInodeFlags(file.fd);
  } catch (error) {
    if (hasErrno(error, 'ENOTTY', 'EOPNOTSUPP', 'ENOSYS')) return 0; // a file system that has none
    throw error;
  }
}

function bytesOf(path: string): string {
  return Buffer.from(path).toString('latin1');
}

function isAtOrBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`);
}
