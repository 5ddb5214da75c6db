import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { listAttributesByPath } from '../../linux/attributes.ts';
import { descriptorPath } from '../../linux/files.ts';
import type { Aspect } from '../../model/changes.ts';
import {
  type Difference,
  type Entry,
  type Inode,
  type Link,
  type TreePair,
  type TreeState,
  typeOf,
} from './trees.ts';

/**
 * Two read-only trees, compared by a look at every file, and at the content of each that may be different: for who may not ask the file
 * system what was written. Finds the same, in the time that it takes to read both. Of two copies of one tree the inode numbers
 * are the same.
 */
export function filePair(from: number, to: number): TreePair {
  const states = [new Files(from), new Files(to)] as const;
  return {
    from: states[0],
    to: states[1],
    candidates: () => new Set(states.flatMap((state) => [...state.numbers()])),
    difference: (before, after) => differenceOf(before as FileInode, after as FileInode),
    [Symbol.dispose]() {},
  };
}

interface FileInode extends Inode {
  readonly status: BigIntStats;
  /** By which it is reached; without the zero byte at its end. */
  readonly path: Buffer;
}

class Files implements TreeState {
  readonly root: number;
  readonly #inodes = new Map<number, FileInode>();
  readonly #entries = new Map<number, Map<string, Entry>>();
  readonly #names = new Map<number, Link[]>();

  constructor(fd: number) {
    const path = Buffer.from(`${descriptorPath(fd)}/.`);
    const status = lstatSync(path, { bigint: true });
    this.root = Number(status.ino);
    this.#add(path, status);
    const pending = [{ path, number: this.root }];
    for (let next = pending.pop(); next; next = pending.pop()) {
      const entries = new Map<string, Entry>();
      this.#entries.set(next.number, entries);
      for (const name of readdirSync(next.path, { encoding: 'buffer' })) {
        const child = Buffer.concat([next.path, Buffer.from('/'), name]);
        const found = lstatSync(child, { bigint: true });
        const entry = entryOf(name, found, status.dev);
        entries.set(entry.name, entry);
        if (entry.isSubvolume) continue;
        if (this.#add(child, found).type === 'directory') pending.push({ path: child, number: entry.target });
        const names = this.#names.get(entry.target) ?? [];
        this.#names.set(entry.target, [...names, { directory: next.number, name: entry.name }]);
      }
    }
  }

  #add(path: Buffer, status: BigIntStats): FileInode {
    const number = Number(status.ino);
    const type = typeOf(Number(status.mode));
    const inode = { number, type, identity: `${number} ${status.birthtimeNs} ${type}`, status, path };
    this.#inodes.set(number, inode);
    return inode;
  }

  numbers(): Iterable<number> {
    return this.#inodes.keys();
  }

  inode(number: number): FileInode | undefined {
    return this.#inodes.get(number);
  }

  entries(directory: number): Map<string, Entry> {
    return this.#entries.get(directory) ?? new Map();
  }

  namesOf(inode: number): readonly Link[] {
    return this.#names.get(inode) ?? [];
  }

  dataBytes(inode: Inode): number {
    const { status } = inode as FileInode;
    if (inode.type !== 'file') return inode.type === 'symlink' ? Number(status.size) : 0;
    return Math.min(Number(status.size), Number(status.blocks) * 512);
  }
}

/** In a snapshot a subvolume is an empty directory with this number; what is mounted there is no part of the tree either. */
function entryOf(name: Buffer, status: BigIntStats, device: bigint): Entry {
  const stub = 2n;
  return {
    name: name.toString('latin1'),
    target: Number(status.ino),
    isSubvolume: status.isDirectory() && (status.ino === stub || status.dev !== device),
  };
}

function differenceOf(before: FileInode, after: FileInode): Difference | undefined {
  const [old, present] = [before.status, after.status];
  const bytes = differingBytes(before, after);
  const aspects: Aspect[] = [];
  const hasData = after.type === 'file' || after.type === 'symlink';
  if (bytes > 0 || (hasData && old.size !== present.size) || old.rdev !== present.rdev) aspects.push('data');
  if (old.mode !== present.mode) aspects.push('mode');
  if (old.uid !== present.uid || old.gid !== present.gid) aspects.push('owner');
  if (after.type !== 'directory' && old.mtimeNs !== present.mtimeNs) aspects.push('times');
  if (attributesOf(before) !== attributesOf(after)) aspects.push('attributes');
  return aspects.length > 0 ? { aspects, bytes } : undefined;
}

function attributesOf({ path }: FileInode): string {
  return listAttributesByPath(Buffer.concat([path, Buffer.alloc(1)])).join('\n');
}

/** Up to the present end, in whole blocks. */
function differingBytes(before: FileInode, after: FileInode): number {
  if (after.type === 'symlink') {
    const [old, present] = [before, after].map(({ path }) => readlinkSync(path, { encoding: 'buffer' }));
    return old && present && !old.equals(present) ? present.length : 0;
  }
  if (after.type !== 'file') return 0;
  const [old, present] = [open(before), open(after)];
  try {
    return compareContents(old, present, Number(after.status.size));
  } finally {
    closeSync(old);
    closeSync(present);
  }
}

/** Neither a link nor a pipe is followed: it was a file when it was looked at, and nothing changes. */
function open({ path }: FileInode): number {
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

const block = 4096;
const buffers = [Buffer.alloc(256 * block), Buffer.alloc(256 * block)] as const;

function compareContents(before: number, after: number, size: number): number {
  let differing = 0;
  for (let position = 0; position < size; position += buffers[0].length) {
    const length = Math.min(buffers[0].length, size - position);
    for (const [index, fd] of [before, after].entries()) {
      const buffer = buffers[index as 0 | 1];
      // What one of them doesn't have is zeros, as a hole is.
      buffer.fill(0, readSync(fd, buffer, 0, length, position), length);
    }
    if (buffers[0].compare(buffers[1], 0, length, 0, length) === 0) continue;
    for (let at = 0; at < length; at += block) {
      const end = Math.min(at + block, length);
      if (buffers[0].compare(buffers[1], at, end, at, end) !== 0) differing += end - at;
    }
  }
  return differing;
}
