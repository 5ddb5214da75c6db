import { readAttribute, writeAttributeByPath } from '../../linux/attributes.ts';
import { createSnapshot, createSubvolume, subvolumeInfo } from '../../linux/btrfs.ts';
import { nestedSubvolumes } from '../../linux/btrfs-nested.ts';
import { firstInode, isDirectory, statusAt, statusIfAny } from '../../linux/file-status.ts';
import { descriptorPath, openDirectoryAt, setMode, setOwner } from '../../linux/files.ts';
import { call, hasErrno } from '../../linux/system-calls.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { TreePayload } from '../directory/payload.ts';
import { openUnlessForeign, treeName } from '../directory/places.ts';
import { identityAttribute } from './identity.ts';
import { makeNodatacow } from './nodatacow.ts';
import { subvolumeDifferences } from './tree-pair.ts';
import { treeUsage } from './tree-usage.ts';
import { switchMounts, treeHolders, treeMounts } from './tree-users.ts';

/** The data of a directory tree is a subvolume, and nothing is beside it. */
export const subvolumeTrees: TreePayload = {
  create(entry, identity, { nodatacow = [], owner, mode }) {
    createSubvolume(entry, treeName);
    writeAttributeByPath(`${descriptorPath(entry)}/${treeName}`, identityAttribute, identity);
    using tree = openDirectoryAt(entry, treeName);
    for (const path of nodatacow) makeNodatacow(tree.fd, path, owner);
    if (owner) setOwner(tree.fd, owner.uid, owner.gid);
    if (mode !== undefined) setMode(tree.fd, mode);
  },

  /** A snapshot, where it is a subvolume of this file system. */
  take(entry, directory, identity) {
    if (statusAt(directory, '').inode !== firstInode) return false;
    try {
      requireWhole(directory);
      createSnapshot(directory, entry, treeName, 'writable');
      requireWhole(directory);
    } catch (error) {
      if (hasErrno(error, 'EXDEV', 'EINVAL', 'ENOTTY')) return false; // of another file system, or of none
      throw error;
    }
    this.claim(entry, identity);
    return true;
  },

  claim(entry, identity) {
    writeAttributeByPath(`${descriptorPath(entry)}/${treeName}`, identityAttribute, identity);
  },

  /** A snapshot, whatever is in it: to share files one by one would take as long as there are files. */
  clone(source, staged) {
    copy(source.fd, staged.fd, 'writable');
    return { method: 'snapshot', bytes: 0, sourceTouched: isTouched(source.fd) };
  },

  snapshot: copy,

  uuid(entry) {
    using tree = openUnlessForeign(entry, treeName);
    return tree && subvolumeInfo(tree.fd).uuid;
  },

  inspect(entry) {
    using tree = openUnlessForeign(entry, treeName);
    if (!tree) return undefined;
    const subvolume = subvolumeInfo(tree.fd);
    return {
      isWhole: statusAt(tree.fd, '').inode === firstInode,
      readOnly: subvolume.readOnly,
      identity: readAttribute(tree.fd, identityAttribute)?.toString(),
      changedIn: String(subvolume.changedIn),
      createdIn: String(subvolume.createdIn),
    };
  },

  leftOut(entry) {
    using tree = openUnlessForeign(entry, treeName);
    return tree ? nestedIn(tree.fd) : [];
  },

  requireTree(entry) {
    const status = statusIfAny(entry, treeName);
    if (status && isDirectory(status)) return;
    throw new CoppiceError(
      'damaged',
      `The directory ${treeName} of this volume is ${status ? 'something else' : 'gone'}; "coppice pool check" says more.`,
    );
  },

  /**
   * Everything that is dirty in the file system, also that of others: what has to be written in the call that takes the snapshot holds up
   * the writers of this one, about a millisecond for each MiB.
   */
  writeOut(entry) {
    using tree = openDirectoryAt(entry, treeName);
    call('syncfs', treeName, tree.fd);
  },

  differences(from, to) {
    using before = openTree(from.fd);
    using after = openTree(to.fd);
    return subvolumeDifferences(before.fd, after.fd);
  },

  usage: treeUsage,
  mounts: treeMounts,
  switchMounts,
  holders: treeHolders,
};

function copy(source: number, entry: number, access: 'readonly' | 'writable'): void {
  using tree = openTree(source);
  requireWhole(tree.fd);
  createSnapshot(tree.fd, entry, treeName, access);
  // One that somebody has made since would be an empty directory in it.
  requireWhole(tree.fd);
}

function openTree(entry: number): ReturnType<typeof openDirectoryAt> {
  try {
    return openDirectoryAt(entry, treeName);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) throw error;
    throw new CoppiceError(
      'damaged',
      `The directory ${treeName} of this volume is gone, or something else stands in its place; "coppice pool check" says more.`,
      { cause: error },
    );
  }
}

/** @throws CoppiceError damaged for a plain directory, blocked when there are subvolumes in it, which a snapshot leaves out */
function requireWhole(tree: number): void {
  if (statusAt(tree, '').inode !== firstInode) {
    throw new CoppiceError(
      'damaged',
      'The data of this volume is a plain directory, which other tools have copied there, and of which there are no snapshots; copy it into a new volume.',
    );
  }
  const nested = nestedSubvolumes(tree);
  if (nested.length === 0) return;
  throw blockedBy(
    'A copy of it would not be whole',
    nested.map(({ path }) => ({
      kind: 'volumes',
      what: `${path} is a subvolume of its own, of which it would hold an empty directory`,
      remedy:
        'copy what is in it to a plain directory ("cp -a --reflink=always"), put that in its place, and delete the subvolume',
    })),
  );
}

function nestedIn(tree: number): string[] {
  if (statusAt(tree, '').inode !== firstInode) return [];
  return nestedSubvolumes(tree).map(({ path }) => `the subvolume ${path}`);
}

/** Whether something that never changes has: only a snapshot or a template, which are read-only, are asked for it. */
function isTouched(entry: number): boolean {
  using tree = openDirectoryAt(entry, treeName);
  const { readOnly, changedIn, createdIn } = subvolumeInfo(tree.fd);
  return !readOnly || changedIn !== createdIn;
}
