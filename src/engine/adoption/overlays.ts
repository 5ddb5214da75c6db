import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { backingFileOf } from '../../images/qcow2.ts';
import { type Descriptor, descriptorPath } from '../../linux/files.ts';
import { hasErrno, SystemError } from '../../linux/libc.ts';
import { openOriginal, whyNoFile } from './original.ts';

/**
 * The files in some directories that hold only what was changed of another one, by the name of that: without it they are lost.
 * Where that one lies is not looked at, so that a file of the same name elsewhere is spared too.
 */
export function overlaysIn(directories: Iterable<Descriptor>): ReadonlyMap<string, string> {
  const overlays = new Map<string, string>();
  for (const directory of directories) {
    for (const file of readdirSync(descriptorPath(directory.fd))) {
      const backing = backingFileIn({ directory, file });
      if (backing !== undefined) overlays.set(basename(backing), file);
    }
  }
  return overlays;
}

function backingFileIn(entry: { readonly directory: Descriptor; readonly file: string }): string | undefined {
  if (whyNoFile(entry) !== undefined) return undefined;
  try {
    using file = openOriginal(entry);
    return backingFileOf(file.fd);
  } catch (error) {
    // Whose file may not be read has not been written by who may adopt here; what is gone meanwhile needs nothing.
    if (error instanceof SystemError && hasErrno(error, 'ENOENT', 'EACCES', 'ENXIO')) return undefined;
    throw error;
  }
}
