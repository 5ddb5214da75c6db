import { realpathSync, rmdirSync, unlinkSync } from 'node:fs';
import { areas } from '../../drivers/btrfs/places.ts';
import { removeAttribute } from '../../linux/attributes.ts';
import { commitTransaction } from '../../linux/btrfs.ts';
import { removeDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { loopBackingFile, mountOf } from '../../linux/mounts.ts';
import { runProgram } from '../../linux/programs.ts';
import { randomId } from '../../linux/random.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Name } from '../../model/names.ts';
import { openBlockers } from '../blockers.ts';
import { type Context, createContext } from '../context.ts';
import { explaining } from '../failures.ts';
import { list } from '../operations/list.ts';
import { openRoot, poolAttribute } from './open.ts';
import { type PersistOptions, unpersistPool } from './persist.ts';

export interface PoolLoss {
  readonly path: string;
  readonly templates: readonly string[];
  readonly volumes: readonly string[];
  readonly snapshots: number;
  /** The file or device that goes with it. */
  readonly backing?: string;
}

/** What destroying a pool would lose. */
export function describeLoss(pathText: string): PoolLoss {
  return explaining(`look into the pool ${pathText}`, () => lookInto(pathText));
}

function lookInto(pathText: string): PoolLoss {
  using root = openRoot(pathText);
  using context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, true);
  const entries = list(context);
  const { backing } = root.metadata;
  return {
    path: root.path,
    templates: entries.filter((entry) => entry.type === 'template').map((entry) => entry.name),
    volumes: entries.filter((entry) => entry.type === 'volume').map((entry) => entry.name),
    snapshots: entries.reduce((sum, entry) => sum + entry.snapshots, 0),
    ...(backing.type === 'loop' && { backing: backing.file }),
    ...(backing.type === 'device' && { backing: backing.device }),
  };
}

/** Destroys a pool with everything in it. An adopted directory keeps its file system and what was not made by Coppice. */
export function destroyPool(
  pathText: string,
  options: PersistOptions & { readonly force?: boolean },
): PoolLoss {
  return explaining(`destroy the pool ${pathText}`, () => destroy(pathText, options));
}

function destroy(pathText: string, options: PersistOptions & { readonly force?: boolean }): PoolLoss {
  const loss = describeLoss(pathText);
  const { backing } = clear(loss.path, options.force ?? false);
  const { source, file } = backing.type === 'existing' ? {} : unmount(loss.path);
  // Before the file goes, so that a boot after an interruption never waits for one that is not there.
  // An adopted file system's line was never ours.
  if (backing.type !== 'existing') unpersistPool(loss.path, options);
  // Only the file that really was under the mount; the recorded name may mean another by now.
  if (backing.type === 'loop' && file !== undefined && sameFile(file, backing.file)) unlinkSync(backing.file);
  // The device that was mounted: the recorded name may be a stranger's disk since the last boot.
  if (backing.type === 'device' && source !== undefined)
    runProgram('wipefs', ['--all', '--quiet', '--', source]);
  if (backing.type !== 'existing') removeMountPoint(loss.path);
  return loss;
}

/**
 * Takes away what is ours in an adopted directory. The marker goes when there is nothing left, so that until then this can be run
 * again; each volume goes in one step, so that what is still there is whole.
 */
function clear(path: string, force: boolean): ReturnType<typeof openRoot>['metadata'] {
  using root = openRoot(path);
  using context = createContext({ path, root: root.fd, metadata: root.metadata }, true);
  const names = ourVolumes(context);
  using held = new DisposableStack();
  const volumes = names.flatMap((name) => {
    const volume = context.driver.hold({ area: 'volumes', name }, 'exclusive', false);
    if (volume === 'busy')
      throw new CoppiceError(
        'busy',
        `${name} is in use by another operation; try again when that has ended.`,
      );
    return volume === 'absent' ? [] : [held.use(volume)];
  });
  const blockers = force ? [] : openBlockers(context, volumes);
  if (blockers.length > 0) throw blockedBy(`Could not destroy the pool ${path}`, blockers);
  if (root.metadata.backing.type !== 'existing') return root.metadata;
  for (const volume of volumes) {
    context.driver.move(volume, { area: 'tombstones', id: randomId() });
    context.driver.discard(volume);
  }
  for (const area of ['staging', 'tombstones'] as const) {
    for (const id of context.driver.listEntries(area)) {
      const entry = context.driver.hold({ area, id }, 'exclusive', false);
      if (typeof entry === 'object') context.driver.discard(held.use(entry));
    }
  }
  if (ourVolumes(context).length + context.driver.listEntries('staging').length > 0) {
    throw new CoppiceError(
      'busy',
      `Something new was made in ${path} while it was destroyed; run it again when nobody works there.`,
    );
  }
  removeAttribute(root.fd, poolAttribute);
  for (const name of Object.keys(areas)) removeIfEmpty(root.fd, name);
  commitTransaction(root.fd);
  return root.metadata;
}

function ourVolumes(context: Context): Name[] {
  return context.driver
    .list()
    .flatMap((record) => (record.metadata?.type === 'volume' ? [record.name as Name] : []));
}

/** Returns the device that was mounted, and the file under that, if it was one. */
function unmount(path: string): { readonly source?: string | undefined; readonly file?: string | undefined } {
  const mount = mountOf(path);
  const file = mount && loopBackingFile(mount.source);
  try {
    runProgram('umount', ['--', path]);
  } catch (error) {
    throw new CoppiceError(
      'blocked',
      `Could not destroy the pool ${path}: it is in use and can't be unmounted; "fuser -vm ${path}" shows by whom.`,
      {
        cause: error,
        blockers: [{ kind: 'mounted', what: `${path} is in use`, remedy: `end what uses it` }],
      },
    );
  }
  return { source: mount?.source, file };
}

function removeMountPoint(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'EBUSY', 'EACCES', 'EPERM')) throw error;
  }
}

/** False when one of them has been deleted. */
function sameFile(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

function removeIfEmpty(root: number, name: string): void {
  try {
    removeDirectoryAt(root, name);
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'ENOENT')) throw error;
  }
}
