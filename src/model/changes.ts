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

/** `generations`: by what was written since; `records`: by all that the file system has of them; `files`: by a look at each file. */
export type ComparisonMethod = 'generations' | 'records' | 'files';

/** One change as it was found; its paths are one character a byte (latin1), which is also their order. */
export interface FoundChange {
  readonly kind: ChangeKind;
  readonly type: FileType;
  readonly path: string;
  readonly from?: string;
  readonly bytes?: number;
  readonly aspects?: readonly Aspect[];
}

/** A path for a program: what is no UTF-8 is given to the byte beside it. */
export function tellChange({ kind, type, path, from, ...more }: FoundChange): Change {
  const [present, former] = [told(path), from === undefined ? undefined : told(from)];
  return {
    kind,
    type,
    path: present.text,
    ...(present.base64 !== undefined && { pathBase64: present.base64 }),
    ...(former && { from: former.text }),
    ...(former?.base64 !== undefined && { fromBase64: former.base64 }),
    ...more,
  };
}

function told(latin1: string): { readonly text: string; readonly base64?: string } {
  const bytes = Buffer.from(latin1, 'latin1');
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? { text } : { text, base64: bytes.toString('base64') };
}
