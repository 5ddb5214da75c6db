import { openSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Descriptor } from '../../linux/files.ts';
import { presentFile } from '../../linux/loops.ts';
import { readMounts } from '../../linux/mounts.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { shellWord } from '../../model/shell-word.ts';
import { formatSize } from '../../model/sizes.ts';
import { readPoolMetadata } from '../pools/open.ts';
import { type DoctorFinding, info, ok, warning } from './finding.ts';
import { adoptionObstacle } from './place.ts';
import type { Situation } from './situation.ts';

/** Below this btrfs runs out of room for its metadata early. */
const comfortableBytes = 4 * 2 ** 30;

/** Space where a pool could be made, and on the file systems under the pools of this host. How full a pool is, `pool check` says. */
export function spaceFindings(situation: Situation): DoctorFinding[] {
  return [
    ...placeFindings(situation),
    ...inodeFindings(situation),
    ...overcommitFindings(situation),
    ...discardFindings(situation),
  ];
}

function placeFindings({ kind, directory, fd, mount }: Situation): DoctorFinding[] {
  if (kind === 'pool') return [];
  const { freeBytes, totalBytes } = fileSystemSpace(fd);
  const wanted = adoptionObstacle({ fd, mount }) === undefined ? totalBytes : freeBytes;
  if (wanted >= comfortableBytes)
    return [ok('space.free', directory, `${directory} has ${formatSize(freeBytes)} free.`)];
  return [
    warning(
      'space.free',
      directory,
      `${directory} has only ${formatSize(freeBytes)} of ${formatSize(totalBytes)} free; a pool of less than ${formatSize(comfortableBytes)} runs out of room for metadata early.`,
      'Free space there, or choose another file system.',
    ),
  ];
}

function inodeFindings({ directory }: Situation): DoctorFinding[] {
  const { files, ffree } = statfsSync(directory);
  if (files === 0 || ffree >= files * 0.02) return [];
  return [
    warning(
      'space.inodes',
      directory,
      `The file system of ${directory} has only ${ffree} of ${files} inodes free: soon no file can be made there, whatever space is free.`,
      'Remove files that nobody needs.',
    ),
  ];
}

/** Without it a sparse file only grows. */
function discardFindings({ pool, mount }: Situation): DoctorFinding[] {
  if (!mount || pool?.backing.type !== 'loop' || pool.backing.preallocated) return [];
  if (mount.options.some((option) => option.startsWith('discard'))) return [];
  return [
    info(
      'space.discard',
      mount.mountPoint,
      `${mount.mountPoint} is mounted without discard: the file under the pool grows, and never gives back to its host what is freed in it.`,
      // xfs takes it from a first mount only.
      mount.type === 'xfs'
        ? `Unmount it, and mount it with discard`
        : `Mount it with discard: mount -o remount,discard ${shellWord(mount.mountPoint)}`,
    ),
  ];
}

interface PoolFile {
  readonly file: string;
  readonly device: number;
  /** What it may still take from its host. */
  readonly missingBytes: number;
}

/** What the pools on one file system promise together. What one promises alone, `pool check` says. */
function overcommitFindings(situation: Situation): DoctorFinding[] {
  const host = hostOf(situation);
  if (host === undefined) return [];
  const device = statSync(host).dev;
  const files = poolFiles().filter((each) => each.device === device);
  if (files.length < 2) return [];
  const missing = files.reduce((sum, { missingBytes }) => sum + missingBytes, 0);
  using opened = new Descriptor(openSync(host, 'r'));
  const { freeBytes } = fileSystemSpace(opened.fd);
  const names = files.map(({ file }) => file).join(', ');
  if (missing <= freeBytes)
    return [ok('space.overcommit', host, `There is room for all that ${names} may still take.`)];
  return [
    warning(
      'space.overcommit',
      host,
      `${names} may together still take ${formatSize(missing)}, but the file system that they lie on has ${formatSize(freeBytes)} free; when that is used up, all of these pools turn read-only.`,
      `Free space in ${host}, move one of them, or reserve the blocks of those that matter: coppice pool create PATH --preallocate`,
    ),
  ];
}

/** The directory of the file under the pool, or where one would lie. */
function hostOf({ pool, directory, mount }: Situation): string | undefined {
  if (!pool) return directory;
  const file = seenFile(mount?.source ?? '');
  return file?.state === 'there' ? dirname(file.path) : undefined;
}

/** The files of all pools that are mounted here. */
function poolFiles(): PoolFile[] {
  const files = new Map<string, PoolFile>();
  for (const mount of readMounts()) {
    const file = mount.root === '/' ? seenFile(mount.source) : undefined;
    if (file?.state !== 'there' || !isPool(mount.mountPoint)) continue;
    const { dev, size, blocks } = statSync(file.path);
    files.set(file.path, { file: file.path, device: dev, missingBytes: Math.max(0, size - blocks * 512) });
  }
  return [...files.values()];
}

/** Nothing where another user's directory hides it. */
function seenFile(device: string): ReturnType<typeof presentFile> {
  try {
    return presentFile(device);
  } catch (failure) {
    if (hasErrno(failure, 'EACCES')) return undefined;
    throw failure;
  }
}

function isPool(mountPoint: string): boolean {
  try {
    using root = new Descriptor(openSync(mountPoint, 'r'));
    return readPoolMetadata(root.fd) !== undefined;
  } catch (failure) {
    if (hasErrno(failure, 'EACCES', 'ENOENT', 'EIO')) return false;
    throw failure;
  }
}
