import { constants, openSync } from 'node:fs';
import type { BackendName } from '../../drivers/backend.ts';
import { backends } from '../../drivers/backends.ts';
import { beginsWith, Descriptor } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { poolLabel } from '../pools/claim.ts';

/** Where the label of an unmounted file system stands. */
const labelOffsets: Readonly<Record<BackendName, number>> = { btrfs: 0x1012b, xfs: 108 };

/** Whether a file or device holds a file system with the label that `pool create` gives. Only a hint: a label is anybody's to give. */
export function carriesPoolLabel(path: string): boolean {
  try {
    using file = new Descriptor(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    return backends.some(
      (backend) =>
        backend.recognises(file.fd) && beginsWith(file.fd, `${poolLabel}\0`, labelOffsets[backend.name]),
    );
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ENXIO', 'EACCES', 'EPERM', 'EISDIR')) return false;
    throw failure;
  }
}
