import { reflinkStart } from '../../linux/extents.ts';
import { resizeFile } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { sizeUnit } from '../../model/sizes.ts';
import { shareDisk } from '../disk-work.ts';

/**
 * Why a file can't share its blocks with the disks of the pool, in a form that follows "because"; undefined when it can. Found by
 * doing it, with the first block: what the kernel allows depends on more than on whether two files lie on one file system.
 * @param probe an empty disk of the pool
 */
export function whyNotShared(source: number, bytes: number, probe: number): string | undefined {
  try {
    if (bytes < sizeUnit) shareDisk(source, probe, sizeUnit);
    else {
      resizeFile(probe, 0);
      reflinkStart(source, probe, sizeUnit);
    }
    return undefined;
  } catch (error) {
    if (hasErrno(error, 'EXDEV')) return 'it lies on another file system';
    if (hasErrno(error, 'EOPNOTSUPP', 'ENOTTY')) return 'its file system shares no blocks';
    if (hasErrno(error, 'EINVAL'))
      return 'the kernel refuses that, as where the file or the pool is nodatacow (chattr +C) and the other is not';
    if (hasErrno(error, 'ETXTBSY')) return 'it is an active swap file';
    throw error;
  }
}
