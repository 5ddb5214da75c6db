import { type ItemKey, itemTypes, type NamedItem, readNames } from '../../linux/btrfs-names.ts';
import { isDirectory, mountIdOf, regularFileOn, statusAt, statusIfAny } from '../../linux/file-status.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Metadata } from '../../model/metadata.ts';
import { decodeMetadata } from '../../model/metadata-text.ts';
import { diskPath, metadataAttribute, treeName } from '../directory/places.ts';
import { volumeRecordOf } from '../directory/records.ts';
import { parseUsage, usageAttribute } from '../directory/usage-cache.ts';
import type { CachedUsage, VolumeRecord } from '../driver.ts';

/**
 * All volumes, read from the tree of the pool itself: a hundred calls give the names, the metadata and the snapshots of 20,000
 * volumes, where three for each are needed to look at one by one. Only the disk, which lies in a subvolume of its own, is still
 * asked for its size. What is not exactly as Coppice makes it is looked at by itself. Undefined when the kernel refuses, as it does to
 * anybody but root.
 */
export function volumesInTree(volumes: number): VolumeRecord[] | undefined {
  try {
    const entries = entriesOf(volumes);
    readAll(volumes, entries, readEntry);
    countSnapshots(volumes, entries);
    const mount = mountIdOf(volumes);
    return entries.flatMap((entry) => recordFrom(volumes, entry, mount) ?? []);
  } catch (error) {
    if (hasErrno(error, 'EPERM', 'EACCES', 'ENOTTY')) return undefined;
    throw error;
  }
}

class Entry {
  readonly name: string;
  readonly inode: number;
  metadata: Metadata | undefined = undefined;
  measured: CachedUsage | undefined = undefined;
  hasData = false;
  hasTree = false;
  /** The inode of the directory of its snapshots. */
  snapshotsInode: number | undefined = undefined;
  snapshots = 0;
  /** It, or something in it, is not as Coppice makes it. */
  isOdd: boolean;

  constructor(name: string, target: NamedItem['target']) {
    this.name = name;
    this.isOdd = typeof target !== 'number';
    this.inode = typeof target === 'number' ? target : 0;
  }
}

const anyNumber = 0xffff_ffff;
/** So many items are asked for at a time where most of them belong to others. */
const few = 16;

/** The names in the directory of volumes, in the order of their inodes. */
function entriesOf(volumes: number): Entry[] {
  const entries: Entry[] = [];
  const to = { inode: Number(statusAt(volumes, '').inode), type: itemTypes.name };
  for (let from: ItemKey | undefined = { ...to, offset: 0 }; from; )
    from = readNames(volumes, from, to, anyNumber, ({ name, target }) => {
      entries.push(new Entry(name, target));
    });
  return entries.sort((a, b) => a.inode - b.inode);
}

/**
 * Reads what is in many directories, which lie beside each other in the tree of a pool; where others' lie between, it goes on with
 * the next one.
 * @param wanted in the order of their inodes
 */
function readAll<T extends { readonly inode: number }>(
  volumes: number,
  wanted: readonly T[],
  visit: (each: T, item: NamedItem) => void,
): void {
  const to = { inode: wanted.at(-1)?.inode ?? 0, type: itemTypes.name };
  let next = 0;
  const nextFrom = (inode: number): T | undefined => {
    while (next < wanted.length && (wanted[next]?.inode ?? 0) < inode) next++;
    return wanted[next];
  };
  let most = anyNumber;
  for (let from = startOf(nextFrom(1)); from; ) {
    let [ours, all] = [0, 0];
    const after = readNames(volumes, from, to, most, (item) => {
      all++;
      const each = nextFrom(item.inode);
      if (each?.inode !== item.inode) return;
      ours++;
      visit(each, item);
    });
    if (!after) return;
    most = ours * 4 < all ? few : anyNumber;
    const following = nextFrom(after.inode);
    from = following?.inode === after.inode ? after : startOf(following);
  }
}

function startOf(each: { readonly inode: number } | undefined): ItemKey | undefined {
  return each && { inode: each.inode, type: itemTypes.attribute, offset: 0 };
}

function readEntry(entry: Entry, item: NamedItem): void {
  if (item.type === itemTypes.attribute) {
    if (item.is(metadataAttribute)) entry.metadata = decodeMetadata(item.value);
    else if (item.is(usageAttribute)) entry.measured = parseUsage(item.value);
  } else if (item.is('data')) {
    entry.hasData = item.target === 'subvolume';
  } else if (item.is(treeName)) {
    entry.hasTree = item.target === 'subvolume';
  } else if (item.is('snapshots')) {
    const { target } = item;
    if (typeof target === 'number') entry.snapshotsInode = target;
    else entry.isOdd = true;
  }
}

function countSnapshots(volumes: number, entries: readonly Entry[]): void {
  const directories = entries.flatMap((entry) =>
    entry.snapshotsInode === undefined ? [] : [{ inode: entry.snapshotsInode, entry }],
  );
  directories.sort((a, b) => a.inode - b.inode);
  readAll(volumes, directories, ({ entry }, { type }) => {
    if (type === itemTypes.name) entry.snapshots++;
  });
}

/** What is mounted over something is in no tree, so that is looked for. */
function recordFrom(volumes: number, entry: Entry, mount: number | undefined): VolumeRecord | undefined {
  const { name, metadata, measured, snapshots } = entry;
  if (metadata?.type === 'volume' && metadata.kind === 'tree') {
    // What is in a tree is not counted, so there is nothing to ask it for.
    if (!entry.hasTree || entry.isOdd || hidesSnapshots(volumes, entry))
      return volumeRecordOf(volumes, name, 'usage');
    const nothingCounted = { bytes: undefined, allocatedBytes: undefined };
    return { name, metadata, ...nothingCounted, isTree: true, measured, snapshots };
  }
  const isWhole = metadata && entry.hasData && !entry.isOdd && !hidesSnapshots(volumes, entry);
  const disk = isWhole ? regularFileOn(mount, volumes, `${name}/${diskPath}`) : undefined;
  if (!disk) return volumeRecordOf(volumes, name, 'usage');
  return { name, metadata, bytes: disk.bytes, allocatedBytes: disk.allocatedBytes, measured, snapshots };
}

function hidesSnapshots(volumes: number, { name, snapshotsInode }: Entry): boolean {
  if (snapshotsInode === undefined) return false;
  const status = statusIfAny(volumes, `${name}/snapshots`);
  return !(status && isDirectory(status));
}
