import { constants } from 'node:fs';
import type { Aspect, FileType } from '../../model/changes.ts';

/**
 * Two states of a directory tree, as what compares them asks for them: of how they are read it knows nothing. Names are one character a
 * byte (latin1). Neither state changes meanwhile.
 */
export interface TreePair extends Disposable {
  readonly from: TreeState;
  readonly to: TreeState;
  /**
   * The inodes of either state that may be different in the other: all that are, and perhaps more. A directory is different
   * when a name in it is; and what is no longer there needs not be among them, because the directory that it was in is.
   */
  candidates(): Iterable<number>;
  /** How two inodes that stand for one file differ in something other than their names; undefined when they don't. */
  difference(from: Inode, to: Inode): Difference | undefined;
}

export interface TreeState {
  readonly root: number;
  /** Undefined where it has none of that number, or nothing leads to it. */
  inode(number: number): Inode | undefined;
  /** The entries of a directory. Two that have the same key in two states of it are the same when they have the same content. */
  entries(directory: number): ReadonlyMap<number | string, Entry>;
  /** Every name of an inode; none of the root. */
  namesOf(inode: number): readonly Link[];
  /** Bytes of data, without holes. */
  dataBytes(inode: Inode): number;
}

export interface Inode {
  readonly number: number;
  /** The same in both states if it is the same file, and never of another that has the same number. */
  readonly identity: unknown;
  readonly type: FileType;
}

export interface Entry {
  readonly name: string;
  /** The number of the inode, or of a subvolume. */
  readonly target: number;
  readonly isSubvolume: boolean;
}

export interface Link {
  readonly directory: number;
  readonly name: string;
}

export interface Difference {
  readonly aspects: readonly Aspect[];
  readonly bytes: number;
}

/** What the mode of an inode says that it is. */
export function typeOf(mode: number): FileType {
  switch (mode & constants.S_IFMT) {
    case constants.S_IFREG:
      return 'file';
    case constants.S_IFDIR:
      return 'directory';
    case constants.S_IFLNK:
      return 'symlink';
    default:
      return 'other';
  }
}
