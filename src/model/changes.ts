/** What differs between two states of a directory tree. */

export type ChangeKind = 'added' | 'removed' | 'changed' | 'renamed';

/** A `subvolume` is one that lies in the tree and is no part of it. */
export type FileType = 'file' | 'directory' | 'symlink' | 'other' | 'subvolume';

/** `times`: when it was written last, of what is no directory; `attributes`: extended attributes and flags such as those of chattr(1). */
export type Aspect = 'data' | 'mode' | 'owner' | 'times' | 'attributes';

export interface Change {
  readonly kind: ChangeKind;
  readonly type: FileType;
  /** From the root of the tree, which is "."; where it is now, or where it was if it is gone. Bytes that are not UTF-8 are U+FFFD here. */
  readonly path: string;
  /** The same to the byte, in base64; only of a path that is not UTF-8. */
  readonly pathBase64?: string;
  /** Where it was, of what was renamed. */
  readonly from?: string;
  readonly fromBase64?: string;
  /**
   * Bytes of data: of what was added or removed all that it has, without holes; of what was changed or renamed those that are not
   * known to be the same as before, in whole blocks or extents: a single byte written counts as at least a block. A file with
   * several names is counted under the first. Absent where the storage doesn't tell.
   */
  readonly bytes?: number;
  /** What is different, of what was changed, and of what was renamed and changed. */
  readonly aspects?: readonly Aspect[];
}
