import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as fc from 'fast-check';
import { reflink } from '../../src/linux/extents.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { randomNumbers } from './random-operations.ts';

/** Everything that may be done to a tree of files, at random, on few names, so that the operations meet. */

const kinds = [
  'create',
  'write',
  'overwrite',
  'append',
  'truncate',
  'punch',
  'rewrite',
  'map',
  'rename',
  'exchange',
  'link',
  'unlink',
  'mkdir',
  'rmdir',
  'symlink',
  'chmod',
  'chown',
  'attribute',
  'times',
  'reflink',
  'replaceDirectory',
] as const;

export interface TreeOperation {
  readonly kind: (typeof kinds)[number];
  /** Which of what is there, and which name. */
  readonly which: number;
  readonly other: number;
  readonly seed: number;
}

export const treeOperation: fc.Arbitrary<TreeOperation> = fc.record({
  kind: fc.constantFrom(...kinds),
  which: fc.nat(1000),
  other: fc.nat(1000),
  seed: fc.nat(2 ** 31 - 1),
});

/** One of them is not UTF-8, one has what a terminal takes for an order. */
const names = ['a', 'b', 'c', 'd', 'e\n', 'f -> g', '\x1b[31mh', '\xff\xfe'];
const block = 4096;
/** Symbolic links can have it, too. */
export const identityAttribute = 'trusted.test-identity';
const expected = ['EEXIST', 'ENOENT', 'ENOTEMPTY', 'EISDIR', 'ENOTDIR', 'EINVAL', 'EPERM', 'EMLINK', 'ELOOP'];

/** Does one, if what is there allows it. */
export function performInTree(root: string, operation: TreeOperation): void {
  try {
    perform(root, operation);
  } catch (error) {
    if (!hasErrno(error, ...expected)) throw error;
  }
}

function perform(root: string, { kind, which, other, seed }: TreeOperation): unknown {
  const { directories, files, everything } = entriesBelow(root);
  const random = randomNumbers(seed);
  const pick = (list: readonly Buffer[], index: number): Buffer | undefined =>
    list[index % Math.max(1, list.length)];
  const file = pick(files, which);
  const any = pick(everything, which);
  const free = Buffer.concat([
    pick(directories, other) ?? Buffer.from(root),
    Buffer.from(`/${names[(which + other) % names.length]}`, 'latin1'),
  ]);
  const bytes = (most: number): Buffer => {
    const content = Buffer.alloc(1 + Math.floor(random() * most));
    for (let index = 0; index < content.length; index++) content[index] = 1 + Math.floor(random() * 255);
    return content;
  };
  const somewhere = (path: Buffer): number => Math.floor(random() * (fs.statSync(path).size + 1));
  switch (kind) {
    case 'create':
      fs.writeFileSync(free, bytes(random() < 0.5 ? 100 : 20 * block), { flag: 'wx' });
      return mark(free);
    case 'write':
      return file && fs.writeFileSync(file, bytes(20 * block));
    case 'overwrite':
      return file && writeAt(file, bytes(random() < 0.5 ? 10 : 3 * block), somewhere(file));
    case 'append':
      return file && fs.appendFileSync(file, bytes(2 * block));
    case 'truncate':
      return file && fs.truncateSync(file, Math.floor(random() * 24 * block));
    case 'punch':
      return file && punch(file, Math.floor(random() * 20) * block, block * (1 + Math.floor(random() * 4)));
    case 'rewrite': {
      if (!file) return undefined;
      const aside = Buffer.concat([file, Buffer.from('~')]);
      fs.writeFileSync(aside, bytes(4 * block));
      mark(aside);
      return fs.renameSync(aside, file);
    }
    case 'map':
      return file && writeThroughMap(file, bytes(100));
    case 'rename':
      return any && fs.renameSync(any, free);
    case 'exchange': {
      const second = pick(everything, other);
      if (!any || !second || any.equals(second)) return undefined;
      const aside = Buffer.from(`${root}/aside`);
      fs.renameSync(any, aside);
      try {
        fs.renameSync(second, any);
      } finally {
        fs.renameSync(aside, fs.existsSync(any) ? second : any);
      }
      return undefined;
    }
    case 'link':
      return file && fs.linkSync(file, free);
    case 'unlink':
      return file && fs.unlinkSync(file);
    case 'mkdir':
      fs.mkdirSync(free);
      return mark(free);
    case 'rmdir':
      return any && random() < 0.3 ? fs.rmSync(any, { recursive: true }) : any && fs.rmdirSync(any);
    case 'symlink':
      fs.symlinkSync(bytes(50), free);
      return mark(free);
    case 'chmod':
      return any && !fs.lstatSync(any).isSymbolicLink()
        ? fs.chmodSync(any, 0o600 + Math.floor(random() * 64))
        : undefined;
    case 'chown':
      return any && fs.lchownSync(any, Math.floor(random() * 3), Math.floor(random() * 3));
    case 'attribute':
      return (
        any && setAttribute(any, `user.${Math.floor(random() * 3)}`, random() < 0.3 ? undefined : bytes(300))
      );
    case 'times':
      return any && fs.lutimesSync(any, 0, Math.floor(random() * 3));
    case 'reflink': {
      const target = pick(files, other);
      if (!file || !target || file.equals(target)) return undefined;
      using from = new Descriptor(fs.openSync(file, 'r'));
      using to = new Descriptor(fs.openSync(target, 'r+'));
      fs.ftruncateSync(to.fd, 0);
      return reflink(from.fd, to.fd);
    }
    case 'replaceDirectory': {
      const directory = pick(directories.slice(1), which);
      if (!directory) return undefined;
      const aside = Buffer.from(`${root}/aside`);
      fs.mkdirSync(aside);
      mark(aside);
      for (const name of fs.readdirSync(directory, { encoding: 'buffer' }) as unknown as Buffer[])
        fs.renameSync(
          Buffer.concat([directory, Buffer.from('/'), name]),
          Buffer.concat([aside, Buffer.from('/'), name]),
        );
      return fs.renameSync(aside, directory);
    }
  }
}

function entriesBelow(root: string): { directories: Buffer[]; files: Buffer[]; everything: Buffer[] } {
  const found = { directories: [Buffer.from(root)], files: [] as Buffer[], everything: [] as Buffer[] };
  for (const directory of found.directories)
    for (const name of (fs.readdirSync(directory, { encoding: 'buffer' }) as unknown as Buffer[]).sort(
      Buffer.compare,
    )) {
      const path = Buffer.concat([directory, Buffer.from('/'), name]);
      const status = fs.lstatSync(path);
      found.everything.push(path);
      if (status.isDirectory()) found.directories.push(path);
      else if (status.isFile()) found.files.push(path);
    }
  return found;
}

function writeAt(path: Buffer, content: Buffer, position: number): void {
  using file = new Descriptor(fs.openSync(path, 'r+'));
  fs.writeSync(file.fd, content, 0, content.length, position);
}

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load('libc.so.6');

function punch(path: Buffer, position: number, bytes: number): void {
  const keepSizeAndPunch = 3;
  const fallocate = library.func('int fallocate(int, int, int64_t, int64_t)');
  using file = new Descriptor(fs.openSync(path, 'r+'));
  if (fallocate(file.fd, keepSizeAndPunch, position, bytes) !== 0)
    throw new Error('A hole could not be punched.');
}

/** As a database does it: nothing is called that says what was written. */
function writeThroughMap(path: Buffer, content: Buffer): void {
  using file = new Descriptor(fs.openSync(path, 'r+'));
  const { size } = fs.fstatSync(file.fd);
  if (size === 0) return;
  const [readAndWrite, shared] = [3, 1];
  const map = library.func('void *mmap(void *, size_t, int, int, int, int64_t)');
  const unmap = library.func('int munmap(void *, size_t)');
  const address = map(null, size, readAndWrite, shared, file.fd, 0);
  const memory = new Uint8Array(koffi.view(address, size));
  memory.set(content.subarray(0, size), Math.max(0, size - content.length));
  unmap(address, size);
}

let marked = 0;

/** What is made gets a number of its own, by which it is known wherever it goes: the clock does not tell two files apart. */
function mark(path: Buffer): void {
  setAttribute(path, identityAttribute, Buffer.from(String(++marked)));
}

function setAttribute(path: Buffer, name: string, value: Buffer | undefined): void {
  const target = Buffer.concat([path, Buffer.alloc(1)]);
  if (value) {
    library.func('int lsetxattr(void *, const char *, void *, size_t, int)')(
      target,
      name,
      value,
      value.length,
      0,
    );
  } else {
    library.func('int lremovexattr(void *, const char *)')(target, name);
  }
}
