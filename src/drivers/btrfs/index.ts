import { btrfsMagic, commitTransaction, fileSystemUuid, growToDevice } from '../../linux/btrfs.ts';
import { openDetached } from '../../linux/detached-mount.ts';
import { beginsWith } from '../../linux/files.ts';
import { runProgram } from '../../linux/programs.ts';
import type { Backend } from '../backend.ts';
import { directoryDriver } from '../directory/driver.ts';
import { areas } from '../directory/places.ts';
import { waitForPoolLock } from '../directory/pool-lock.ts';
import { subvolumePayload } from './payload.ts';

export const btrfs: Backend = {
  name: 'btrfs',
  magic: btrfsMagic,
  smallestBytes: 256 * 2 ** 20,
  discardOptions: [], // it does so by itself, from kernel 6.2 on
  areas,
  format(target, { label, keepBlocks, descriptors }) {
    const discard = keepBlocks ? ['-K'] : [];
    runProgram('mkfs.btrfs', ['-q', '-f', '-L', label, ...discard, '--', target], descriptors);
  },
  // The magic of the superblock stands 64 bytes into it.
  recognises: (fd) => beginsWith(fd, '_BHRfS_M', 0x10040),
  openUnseen: (device) => openDetached('btrfs', device, { rescue: 'nologreplay' }),
  obstacle: () => undefined,
  uuid: fileSystemUuid,
  grow: (root) => growToDevice(root),
  growCommand: (path) => `"btrfs filesystem resize max ${path}"`,
  commit: commitTransaction,
  lock: (root) => waitForPoolLock(root),
  open: (root, path) => directoryDriver(root, path, subvolumePayload),
};
