import { closeSync, constants, openSync, readlinkSync, readSync } from 'node:fs';
import { Descriptor } from '../../../linux/files.ts';
import { attributesOf, type TreeEntry, walkTree } from '../../../linux/walk.ts';

/**
 * What is different in a copy of a directory tree, the first of it, as a sentence names it; undefined when there is nothing. Everything
 * that a copy has to keep counts: type, owner, mode, size, times, attributes and access rules, the targets of links, the numbers of
 * devices, and which names mean one file.
 * @param contents whether the data of files is read and compared, too
 */
export async function firstDifference(
  source: number,
  copy: number,
  contents: boolean,
  goOn: (entries: number) => Promise<void>,
): Promise<string | undefined> {
  const [left, right] = [walkTree(source), walkTree(copy)];
  // They have directories open where they are.
  using _ends = new DisposableStack();
  _ends.defer(() => void left.return(undefined));
  _ends.defer(() => void right.return(undefined));
  const links = new Map<bigint, bigint>();
  for (let entries = 1; ; entries++) {
    const [{ value: one, done: isEnd }, { value: other, done: isCopyEnd }] = [left.next(), right.next()];
    if (isEnd || isCopyEnd) {
      const extra = one ?? other;
      return extra && `${shown(extra)} is in only one of them`;
    }
    if (!one.path.equals(other.path)) return `${shown(one)} is in only one of them`;
    const what = differenceOf(one, other, links) ?? (contents ? await contentOf(one, other) : undefined);
    if (what !== undefined) return `${what} of ${shown(one)} is not the same`;
    if (entries % 256 === 0) await goOn(entries);
  }
}

function differenceOf(one: TreeEntry, other: TreeEntry, links: Map<bigint, bigint>): string | undefined {
  const [a, b] = [one.status, other.status];
  if (a.mode !== b.mode) return 'the type or mode';
  if (a.uid !== b.uid || a.gid !== b.gid) return 'the owner';
  if (!a.isDirectory() && a.size !== b.size) return 'the size';
  if (a.mtimeNs !== b.mtimeNs) return 'the time of the last change';
  if ((a.isBlockDevice() || a.isCharacterDevice()) && a.rdev !== b.rdev) return 'the number of the device';
  if (a.isSymbolicLink() && !targetOf(one).equals(targetOf(other))) return 'the target';
  if (!a.isDirectory() && a.nlink > 1n) {
    if (!links.has(a.ino)) links.set(a.ino, b.ino);
    if (links.get(a.ino) !== b.ino) return 'the file that it shares with other names';
  }
  return sameAttributes(one, other) ? undefined : 'an extended attribute';
}

function targetOf({ reach }: TreeEntry): Buffer {
  return readlinkSync(reach, { encoding: 'buffer' });
}

/** What the pool itself writes on the directory of a tree, and what btrfs knows of how it keeps a file, are not part of it. */
const notItsOwn = /^(user\.coppice(\.|$)|btrfs\.)/;

function sameAttributes(one: TreeEntry, other: TreeEntry): boolean {
  const [a, b] = [ownAttributes(one), ownAttributes(other)];
  return (
    a.length === b.length &&
    a.every(([name, value], index) => {
      const [otherName, otherValue] = b[index] ?? ['', Buffer.alloc(0)];
      return name === otherName && value.equals(otherValue);
    })
  );
}

function ownAttributes({ reach }: TreeEntry): Array<[string, Buffer]> {
  return [...attributesOf(reach)]
    .filter(([name]) => !notItsOwn.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

const chunkBytes = 2 ** 20;

async function contentOf(one: TreeEntry, other: TreeEntry): Promise<string | undefined> {
  if (!one.status.isFile()) return undefined;
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
  using a = new Descriptor(openSync(one.reach, flags), closeSync);
  using b = new Descriptor(openSync(other.reach, flags), closeSync);
  const [first, second] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)];
  for (let at = 0; at < Number(one.status.size); at += chunkBytes) {
    const [length, otherLength] = [
      readSync(a.fd, first, 0, chunkBytes, at),
      readSync(b.fd, second, 0, chunkBytes, at),
    ];
    if (length !== otherLength || !first.subarray(0, length).equals(second.subarray(0, length)))
      return 'the content';
  }
  return undefined;
}

function shown({ path }: TreeEntry): string {
  return path.length === 0 ? 'the directory itself' : path.toString('utf8');
}
