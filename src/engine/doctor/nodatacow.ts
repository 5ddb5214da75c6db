import { constants, readdirSync } from 'node:fs';
import { diskPath } from '../../drivers/directory/places.ts';
import { type Descriptor, descriptorPath, openAt, openDirectoryAt } from '../../linux/files.ts';
import { inodeFlags, readInodeFlags } from '../../linux/inode-flags.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { openRoot } from '../pools/open.ts';
import { type DoctorFinding, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

/**
 * Disks that are nodatacow (chattr +C) where new ones are not, or the other way round: a new file can't share blocks with one of
 * the other kind.
 */
export function nodatacowFindings({ pool, path, mount }: Situation): DoctorFinding[] {
  if (!pool || mount?.type !== 'btrfs') return [];
  const newOnes = mount.options.includes('nodatacow');
  using root = openRoot(path);
  using volumes = openDirectoryAt(root.fd, 'volumes');
  const odd = readdirSync(descriptorPath(volumes.fd)).filter((name) => {
    const isMarked = isNodatacow(volumes.fd, `${name}/${diskPath}`);
    return isMarked !== undefined && isMarked !== newOnes;
  });
  if (odd.length === 0)
    return [ok('btrfs.nodatacow', path, 'No disk differs from new ones in being nodatacow.')];
  const state = newOnes ? 'not nodatacow, as new ones are' : 'nodatacow (chattr +C), as new ones are not';
  return odd.map((name) => {
    const file = `${path}/volumes/${name}/${diskPath}`;
    return warning(
      'btrfs.nodatacow',
      file,
      `${file} is ${state}: a clone of ${name} by reflink, and so most clones, fail with EINVAL.`,
      `Export ${name} and import it again: coppice export ${name} FILE; coppice import NEW-NAME FILE`,
    );
  });
}

/** Undefined where there is no such file. What somebody has put in its place is not followed, opened for long, or waited for. */
function isNodatacow(directory: number, path: string): boolean | undefined {
  let file: Descriptor;
  try {
    file = openAt(directory, path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV', 'ENXIO')) return undefined;
    throw failure;
  }
  using opened = file;
  try {
    return (readInodeFlags(opened.fd) & inodeFlags.noCopyOnWrite) !== 0;
  } catch (failure) {
    if (hasErrno(failure, 'ENOTTY', 'EOPNOTSUPP')) return undefined; // no regular file
    throw failure;
  }
}
