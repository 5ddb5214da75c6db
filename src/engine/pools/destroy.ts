import type { Held } from '../../drivers/driver.ts';
import { removeAttribute } from '../../linux/attributes.ts';
import { removeDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { randomId } from '../../linux/random.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Name } from '../../model/names.ts';
import { openBlockers } from '../blockers.ts';
import { type Context, createContext } from '../context.ts';
import { explaining } from '../failures.ts';
import { list } from '../operations/list.ts';
import { presentBacking } from './beneath.ts';
import { destroyFileSystem } from './destroy-file-system.ts';
import { unmountObstacles } from './obstacles.ts';
import { type OpenRoot, openRoot, poolAttribute } from './open.ts';
import type { PersistOptions } from './persist.ts';

export interface PoolLoss {
  readonly path: string;
  readonly templates: readonly string[];
  readonly volumes: readonly string[];
  readonly snapshots: number;
  /** The file or device that goes with it. */
  readonly backing?: string;
  /** What stands in the way now; absent when nothing does. */
  readonly blockers?: readonly Blocker[];
}

/** What destroying a pool would lose. */
export function describeLoss(pathText: string): PoolLoss {
  return explaining(`look into the pool ${pathText}`, () => lookInto(pathText));
}

function lookInto(pathText: string): PoolLoss {
  using root = openRoot(pathText);
  using context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, true);
  const entries = list(context);
  const backing = presentBacking(root.path, root.metadata.backing);
  using held = new DisposableStack();
  const volumes = ourVolumes(context).flatMap((name) => {
    const volume = context.driver.hold({ area: 'volumes', name }, 'shared', false);
    return typeof volume === 'string' ? [] : [held.use(volume)];
  });
  const blockers = blockersOf(context, volumes, false);
  return {
    path: root.path,
    templates: entries.filter((entry) => entry.type === 'template').map((entry) => entry.name),
    volumes: entries.filter((entry) => entry.type === 'volume').map((entry) => entry.name),
    snapshots: entries.reduce((sum, entry) => sum + entry.snapshots, 0),
    ...(backing.type === 'loop' && { backing: backing.file }),
    ...(backing.type === 'device' && { backing: backing.device }),
    ...(blockers.length > 0 && { blockers }),
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
  const loss = lookInto(pathText);
  const pool = clear(loss.path, options.force ?? false);
  if (pool.metadata.backing.type !== 'existing') destroyFileSystem(loss.path, pool, options);
  const { blockers: _, ...lost } = loss;
  return lost;
}

/**
 * Takes away what is ours in an adopted directory. The marker goes when there is nothing left, so that until then this can be run
 * again; each volume goes in one step, so that what is still there is whole.
 */
function clear(path: string, force: boolean): Pick<OpenRoot, 'backend' | 'metadata'> {
  using root = openRoot(path);
  using context = createContext({ path, root: root.fd, metadata: root.metadata }, true);
  using held = new DisposableStack();
  const volumes = ourVolumes(context).flatMap((name) => {
    const volume = context.driver.hold({ area: 'volumes', name }, 'exclusive', false);
    if (volume === 'busy')
      throw new CoppiceError(
        'busy',
        `${name} is in use by another operation; try again when that has ended.`,
      );
    return volume === 'absent' ? [] : [held.use(volume)];
  });
  const blockers = blockersOf(context, volumes, force);
  if (blockers.length > 0) throw blockedBy(`Could not destroy the pool ${path}`, blockers);
  const pool = { backend: root.backend, metadata: root.metadata };
  if (root.metadata.backing.type !== 'existing') return pool;
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
  for (const name of Object.keys(root.backend.areas)) removeIfEmpty(root.fd, name);
  root.backend.commit(root.fd);
  return pool;
}

/** Open disks, which only the user can judge; and what an unmount fails on, which nobody can force. */
function blockersOf(context: Context, volumes: readonly Held[], force: boolean): Blocker[] {
  const open = force ? [] : openBlockers(context, volumes);
  if (context.metadata.backing.type === 'existing') return open;
  const disks = new Set(volumes.map((volume) => context.driver.path(volume)));
  const others = unmountObstacles(context.path, force ? new Set() : disks);
  return [...open, ...others];
}

function ourVolumes(context: Context): Name[] {
  return context.driver
    .list()
    .flatMap((record) => (record.metadata?.type === 'volume' ? [record.name as Name] : []));
}

function removeIfEmpty(root: number, name: string): void {
  try {
    removeDirectoryAt(root, name);
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'ENOENT')) throw error;
  }
}
