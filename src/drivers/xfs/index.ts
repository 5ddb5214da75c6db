import { openDetached } from '../../linux/detached-mount.ts';
import { beginsWith } from '../../linux/files.ts';
import { runProgram } from '../../linux/programs.ts';
import { xfsGeometry, xfsMagic } from '../../linux/xfs.ts';
import type { Backend } from '../backend.ts';
import { directoryDriver } from '../directory/driver.ts';
import { areas } from '../directory/places.ts';
import { waitForPoolLock } from '../directory/pool-lock.ts';
import { commit, filePayload } from './payload.ts';

export const xfs: Backend = {
  name: 'xfs',
  magic: xfsMagic,
  smallestBytes: 300 * 2 ** 20,
  discardOptions: ['discard'],
  areas,
  format(target, { label, keepBlocks, descriptors }) {
    const discard = keepBlocks ? ['-K'] : [];
    const args = ['-q', '-f', '-L', label, '-m', 'crc=1,reflink=1', ...discard, '--', target];
    runProgram('mkfs.xfs', args, descriptors);
  },
  recognises: (fd) => beginsWith(fd, 'XFSB', 0),
  // A copy of a file system that is mounted has its id too, and may be looked into all the same.
  openUnseen: (device) => openDetached('xfs', device, { norecovery: true, nouuid: true }),
  obstacle: (root) =>
    xfsGeometry(root).reflink
      ? undefined
      : 'it was made without reflinks, so files on it can never share blocks; make a new xfs with "mkfs.xfs -m reflink=1"',
  uuid: (fd) => xfsGeometry(fd).uuid,
  grow: (_root, path) => void runProgram('xfs_growfs', ['-d', '--', path]),
  growCommand: (path) => `"xfs_growfs -d ${path}"`,
  commit,
  lock: (root) => waitForPoolLock(root),
  open: (root, path) => directoryDriver(root, path, filePayload(root)),
};
