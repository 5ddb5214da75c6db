import { readdirSync, readlinkSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, normalize } from 'node:path';
import { statusIfAny } from '../../linux/file-status.ts';
import { closingOnFailure, descriptorPath, openDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { openTrusted } from '../../linux/trusted-path.ts';
import { CoppiceError } from '../../model/errors.ts';

/** A name in a directory of the host, where a tree is to be. */
export interface Spot extends Disposable {
  /** Open without a right to read it: no rename of what is above it leads elsewhere from here on. */
  readonly parent: number;
  readonly base: string;
  /** Of both, without a link on the way to the last. */
  readonly path: string;
  /** Nobody but root and us can put something else there later, or in the place of a directory on the way. */
  readonly isOwn: boolean;
}

/**
 * Opens the directory that a path ends in, which has to be there, if nobody else can have put it there.
 * @throws CoppiceError invalid_argument, not_found, permission_denied
 */
export function openSpot(directory: string): Spot {
  const wanted = isAbsolute(directory) ? normalize(directory).replace(/\/+$/, '') : '';
  if (wanted === '' || directory.includes('\0')) {
    throw new CoppiceError(
      'invalid_argument',
      `"${directory}" is no place for a tree: it must be a path that begins with "/".`,
    );
  }
  const parent = openTrusted(dirname(wanted), `the directory above ${wanted}`);
  return closingOnFailure(parent, () => {
    const { uid, mode } = parent.status;
    const isOurs = uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
    const base = basename(wanted);
    return {
      parent: parent.fd,
      base,
      path: join(readlinkSync(parent.path), base),
      isOwn: isOurs && (mode & 0o022n) === 0n,
      [Symbol.dispose]: () => parent[Symbol.dispose](),
    };
  });
}

export type SpotContent = 'absent' | 'empty' | 'directory' | 'link' | 'mount' | 'other';

/** What is there now, not followed where it is a link. */
export function contentOf({ parent, base }: Pick<Spot, 'parent' | 'base'>): SpotContent {
  const status = statusIfAny(parent, base);
  if (!status) return 'absent';
  if (status.isMountPoint) return 'mount';
  const type = status.mode & 0o170000;
  if (type === 0o120000) return 'link';
  if (type !== 0o040000) return 'other';
  return isEmpty(parent, base) ? 'empty' : 'directory';
}

function isEmpty(parent: number, base: string): boolean {
  using directory = openDirectoryAt(parent, base);
  return readdirSync(descriptorPath(directory.fd)).length === 0;
}

/** Where a link leads; undefined where there is none. */
export function linkTarget({ parent, base }: Pick<Spot, 'parent' | 'base'>): string | undefined {
  try {
    return readlinkSync(`${descriptorPath(parent)}/${base}`);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'EINVAL')) return undefined;
    throw error;
  }
}
