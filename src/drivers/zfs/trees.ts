import { closeSync, constants, openSync, rmdirSync } from 'node:fs';
import { deviceMounted, findUsersOfDevices } from '../../linux/file-system-users.ts';
import { commandOf, type FoundHolder, loopsOnDevices } from '../../linux/holders.ts';
import { type Mount, readMounts } from '../../linux/mounts.ts';
import { call, hasErrno } from '../../linux/system-calls.ts';
import { openAmong } from '../../linux/zfs-core.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Holder } from '../driver.ts';
import { runZfs } from './command.ts';
import { splitSnapshot } from './layout.ts';
import { propertiesOf } from './look.ts';

/**
 * Volumes that are directories: datasets with files. Where one is mounted says its property `mountpoint`, which it inherits from the
 * dataset of the pool. They are mounted when somebody asks for the path, and not at boot.
 */

/** The directory of a tree or of a snapshot of one, which is mounted if it is not. @throws CoppiceError io_error, unsupported */
export function directoryOf(dataset: string): string {
  const [tree, snapshot] = splitSnapshot(dataset);
  const directory = mountedAt(tree) ?? mount(tree);
  return snapshot === '' ? directory : `${directory}/.zfs/snapshot/${snapshot}`;
}

/** Where a tree is mounted now. */
export function mountedAt(dataset: string): string | undefined {
  return ownMount(dataset)?.mountPoint;
}

/** The first of it as a whole: a part of it may be mounted elsewhere. */
function ownMount(dataset: string): Mount | undefined {
  return mountsOfTree(dataset).find(({ root }) => root === '/');
}

function mount(dataset: string): string {
  try {
    runZfs('zfs', ['mount', dataset]);
  } catch (error) {
    // Somebody else who was asked for it at the same time has done it.
    if (mountedAt(dataset) === undefined) throw explained(dataset, error);
  }
  const directory = mountedAt(dataset);
  if (directory !== undefined) return directory;
  throw new CoppiceError('io_error', `${dataset} was mounted, and is mounted nowhere.`);
}

function explained(dataset: string, error: unknown): unknown {
  const { mountpoint = '' } = propertiesOf(dataset, ['mountpoint']);
  if (!['none', 'legacy'].includes(mountpoint)) return error;
  return new CoppiceError(
    'unsupported',
    `${dataset} has no place to be mounted: its mountpoint is "${mountpoint}"; give the dataset of the pool one with "zfs set mountpoint=DIRECTORY".`,
    { cause: error },
  );
}

function mountsOfTree(dataset: string): readonly Mount[] {
  return readMounts().filter(({ type, source }) => type === 'zfs' && source === dataset);
}

/** What would be cut off with a tree: other mounts of it, and what is mounted in it; not snapshots that were looked into. */
export function mountsIn(dataset: string): ReadonlyArray<{ readonly path: string; readonly source: string }> {
  const own = ownMount(dataset);
  const others = mountsOfTree(dataset).filter((mount) => mount.mountPoint !== own?.mountPoint);
  const inside = readMounts().filter(
    ({ mountPoint, source }) =>
      own &&
      ((mountPoint.startsWith(`${own.mountPoint}/`) && !source.startsWith(`${dataset}@`)) ||
        (mountPoint === own.mountPoint && source !== dataset)),
  );
  return [...others, ...inside].map(({ mountPoint, source }) => ({ path: mountPoint, source }));
}

/** Processes with something of a tree, or of a snapshot of it, and loop devices on files in it. */
export function usersOf(dataset: string): readonly Holder[] {
  const mounts = readMounts().filter(
    ({ type, source }) => type === 'zfs' && (source === dataset || source.startsWith(`${dataset}@`)),
  );
  const fileSystems = new Map(mounts.map((mount) => [mount.fileSystem, mount]));
  return [...fileSystems.values()]
    .flatMap((mount) => {
      const device = deviceMounted(mount);
      const { users } = findUsersOfDevices(new Set([device]), mount.fileSystem);
      return [...loopsOnDevices(new Map([[device, mount.mountPoint]])), ...users.flatMap(named)];
    })
    .map((user) => ({ ...user, isFirm: true }));
}

function named({ pid, path }: { readonly pid: number; readonly path: string }): FoundHolder[] {
  try {
    return [{ pid, command: commandOf(pid), path }];
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return []; // it has ended, and has nothing open any more
    throw error;
  }
}

/** Writes what was written through memory maps, too, which a snapshot would miss. */
export function writeOutTree(dataset: string): void {
  const mounted = ownMount(dataset);
  if (!mounted) return;
  const fd = openSync(mounted.mountPoint, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    call('syncfs', mounted.mountPoint, fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Does something with a tree that nobody must have open, and mounts it again where it was mounted.
 * @param change returns the dataset that is to be mounted then; undefined for none
 * @throws CoppiceError blocked
 */
export function whileUnmounted(dataset: string, change: () => string | undefined): void {
  const mounted = ownMount(dataset);
  const [other] = mountsIn(dataset);
  if (other) throw inUse(dataset, `${other.source} is mounted on ${other.path}`);
  if (mounted) unmount(dataset, mounted.mountPoint);
  let next: string | undefined = dataset;
  try {
    // Of another namespace, in which it is still mounted, nothing else tells.
    if (openAmong([dataset]).open.length > 0) throw inUse(dataset, 'something uses it');
    next = change();
  } finally {
    if (mounted && next !== undefined) mountAgain(next);
    if (mounted && next !== dataset) removeIfEmpty(mounted.mountPoint);
  }
}

/** What was to be done is done, or has failed for another reason: who asks for the path next is told why it can't be mounted. */
function mountAgain(dataset: string): void {
  try {
    mount(dataset);
  } catch {}
}

/** For what is put aside, where somebody has set otherwise: it must not be mounted at boot over what takes its place. */
export function neverAtBoot(dataset: string): void {
  if (propertiesOf(dataset, ['canmount']).canmount === 'on')
    runZfs('zfs', ['set', 'canmount=noauto', dataset]);
}

/** The opposite, for one that is to be at a place of its own. */
export function atBoot(dataset: string): void {
  runZfs('zfs', ['set', 'canmount=on', dataset]);
}

/** Mounts a tree on a directory of its own, also at every boot; without one, it is where it was before that. */
export function mountAt(dataset: string, directory: string | undefined): void {
  if (directory === undefined) {
    runZfs('zfs', ['set', 'canmount=noauto', dataset]);
    runZfs('zfs', ['inherit', 'mountpoint', dataset]);
    return;
  }
  const { mountpoint } = propertiesOf(dataset, ['mountpoint']);
  // What is mounted moves with its property.
  if (mountpoint !== directory) runZfs('zfs', ['set', `mountpoint=${directory}`, dataset]);
  if (mountedAt(dataset) === undefined) mount(dataset);
  atBoot(dataset);
}

const UMOUNT_NOFOLLOW = 8;

function unmount(dataset: string, directory: string): void {
  const snapshots = readMounts().filter(({ source }) => source.startsWith(`${dataset}@`));
  try {
    for (const path of [...snapshots.map(({ mountPoint }) => mountPoint), directory])
      call('umount2', path, path, UMOUNT_NOFOLLOW);
  } catch (error) {
    if (!hasErrno(error, 'EBUSY')) throw error;
    const [user] = usersOf(dataset);
    const who = user ? `${userOf(user)} uses ${user.path}` : 'something uses it';
    throw inUse(dataset, who, error);
  }
}

function userOf({ pid, command }: Holder): string {
  return pid === undefined ? command : `process ${pid} (${command})`;
}

function inUse(dataset: string, who: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'blocked',
    `${dataset} can't be unmounted, also not by force: ${who}; stop that first.`,
    { cause },
  );
}

/** The directory that it was mounted on means nothing any more; whatever keeps it there is no failure of what was done. */
function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {}
}
