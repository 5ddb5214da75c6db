import { Descriptor } from './files.ts';
import type { Mount } from './mounts.ts';
import { attempt, call, closeDescriptor, SystemError } from './system-calls.ts';

/** Constants of the mount API, from linux/mount.h and linux/fcntl.h. */
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const MOVE_MOUNT_BENEATH = 0x200;
const MNT_DETACH = 2;
const EINVAL = 22;

/** The options of a mount of its own, by what mountinfo calls them. */
const attributes: Readonly<Record<string, number>> = {
  ro: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  noatime: 0x10,
  nodiratime: 0x80,
  nosymfollow: 0x20_0000,
};
const [accessTimes, strictAccessTimes] = [0x70, 0x20];

/** A mount of a directory that is nowhere yet: it goes with the descriptor. @param options those of one that it shall be like */
export function cloneMount(directory: string, options: Mount['options']): Descriptor {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  const tree = new Descriptor(call('open_tree', directory, AT_FDCWD, directory, flags), closeDescriptor);
  try {
    setOptions(tree.fd, options);
    return tree;
  } catch (error) {
    tree[Symbol.dispose]();
    throw error;
  }
}

function setOptions(tree: number, options: Mount['options']): void {
  let set = 0;
  for (const option of options) set |= attributes[option] ?? 0;
  // Neither is said of a mount that notes each reading.
  const isStrict = options.length > 0 && !options.some((option) => /^(no|rel)atime$/.test(option));
  if (isStrict) set |= strictAccessTimes;
  const all = Object.values(attributes).reduce((sum, each) => sum | each, 0);
  const request = new BigUint64Array([
    BigInt(set),
    BigInt((all & ~set & ~accessTimes) | accessTimes),
    0n,
    0n,
  ]);
  call('mount_setattr', 'mount', tree, '', AT_EMPTY_PATH, request, request.byteLength);
}

/** Puts a mount on a directory, over whatever is mounted there. */
export function attachMount(tree: Descriptor, directory: string): void {
  call('move_mount', directory, tree.fd, '', AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH);
}

/**
 * Puts a mount in the place of the one at a directory, in such a way that whoever looks finds one of the two. Whoever has something open
 * in the old one keeps it. Kernels before 6.5 can't: there is a moment then in which nothing is mounted.
 */
export function replaceMount(tree: Descriptor, directory: string): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH;
  const result = attempt('move_mount', directory, tree.fd, '', AT_FDCWD, directory, flags);
  if (result < 0 && result !== -EINVAL) throw new SystemError(-result, 'move_mount', directory);
  detachMount(directory);
  if (result < 0) attachMount(tree, directory);
}

/** Takes the uppermost mount from a directory; it ends when nobody uses it any more. */
export function detachMount(directory: string): void {
  call('umount2', directory, directory, MNT_DETACH);
}
