import { constants, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readAttributeByPath } from '../../linux/attributes.ts';
import { closingOnFailure, type Descriptor, descriptorPath } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { decodeMetadata } from '../../model/metadata-text.ts';
import { printable } from '../../model/printable.ts';
import type { Context } from '../context.ts';
import { type Confined, openOnHost } from '../host-files.ts';
import { poolAttribute } from '../pools/open.ts';

/** A file in a directory that stays open: whatever its path means later, this is still the same directory. */
export interface Entry {
  readonly directory: Descriptor;
  readonly file: string;
  readonly path: string;
  /** The path as it is told to people. */
  readonly label: string;
  /** It was asked for by its own name, and not only with its directory. */
  readonly isNamed: boolean;
}

/** What lies in directories, and files, each once. Directories below them are not entered. */
export function openEntries(
  context: Context,
  sources: readonly string[],
  confined: Confined,
  stack: DisposableStack,
): readonly Entry[] {
  const directories = new Map<string, Descriptor>();
  const entries = new Map<string, Entry>();
  const open = (path: string): Descriptor => {
    const directory = directories.get(path) ?? stack.use(openSourceDirectory(context, path, confined));
    directories.set(path, directory);
    return directory;
  };
  const add = (parent: string, file: string, isNamed: boolean): void => {
    const path = join(parent, file);
    if (!isNamed && entries.has(path)) return;
    entries.set(path, { directory: open(parent), file, path, label: printable(path), isNamed });
  };
  for (const source of sources) {
    const directory = asDirectory(source);
    if (directory === undefined) {
      add(realpathSync(dirname(source)), basename(source), true);
    } else {
      const names = readdirSync(descriptorPath(open(directory).fd)).sort();
      for (const name of names) add(directory, name, false);
    }
  }
  return [...entries.values()];
}

/** The real path of a directory; undefined for anything else. @throws CoppiceError not_found */
function asDirectory(path: string): string | undefined {
  try {
    return statSync(path).isDirectory() ? realpathSync(path) : undefined;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP'))
      throw new CoppiceError('not_found', `There is no file or directory ${path}.`, { cause: error });
    throw error;
  }
}

function openSourceDirectory(context: Context, path: string, confined: Confined): Descriptor {
  const directory = openOnHost(path, constants.O_RDONLY | constants.O_DIRECTORY, confined);
  return closingOnFailure(directory, () => {
    if (!isInPool(context, directory.fd, path)) return directory;
    throw new CoppiceError(
      'invalid_argument',
      `${path} belongs to a pool, and what lies there is a volume already; use "coppice clone", or "coppice export" from another pool.`,
    );
  });
}

/** By its path, and for a pool that is mounted there too, or is another one, by what the directory around it says of itself. */
function isInPool(context: Context, fd: number, path: string): boolean {
  const own = ['volumes', '.staging', '.tombstones'].map((area) => `${context.path}/${area}/`);
  if (own.some((area) => `${path}/`.startsWith(area))) return true;
  return ['.', '..'].some((name) => {
    const bytes = readAttributeByPath(`${descriptorPath(fd)}/${name}`, poolAttribute);
    const metadata = bytes && decodeMetadata(bytes);
    return metadata !== undefined && metadata.type !== 'pool';
  });
}
