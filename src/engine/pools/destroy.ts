import type { Held } from '../../drivers/driver.ts';
import { storeOf } from '../../drivers/stores.ts';
import { removeAttribute } from '../../linux/attributes.ts';
import { removeDirectoryAt } from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Name } from '../../model/names.ts';
import { mountBlockers, openBlockers, othersBlockers, placeBlockers } from '../blockers.ts';
import { type Context, createContext } from '../context.ts';
import { explaining } from '../failures.ts';
import { list } from '../operations/list.ts';
import { presentBacking } from './beneath.ts';
import { destroyFileSystem } from './destroy-file-system.ts';
import { unmountObstacles } from './obstacles.ts';
import { type OpenRoot, openPoolRoot, type PoolRoot, poolAttribute } from './open.ts';
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
  using root = openPoolRoot(pathText);
  using context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, true);
  const entries = list(context);
  const backing = context.driver.info.isMounted
    ? presentBacking(root.path, root.metadata.backing)
    : root.metadata.backing;
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
    ...(backing.type === 'zpool' && { backing: backing.devices.join(' and ') }),
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
  const store = storeOf(loss.path);
  const pool = clear(loss.path, options.force ?? false);
  if (store) store.destroy(loss.path, pool.metadata);
  else if (pool.backend && pool.metadata.backing.type !== 'existing')
    destroyFileSystem(loss.path, { backend: pool.backend, metadata: pool.metadata }, options);
  const { blockers: _, ...lost } = loss;
  return lost;
}

/**
 * Takes away what is ours in an adopted directory. The marker goes when there is nothing left, so that until then this can be run
 * again; each volume goes in one step, so that what is still there is whole.
 */
function clear(
  path: string,
  force: boolean,
): { readonly backend?: OpenRoot['backend']; readonly metadata: OpenRoot['metadata'] } {
  using root: PoolRoot & Partial<Pick<OpenRoot, 'backend'>> = openPoolRoot(path);
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
  const { backend } = root;
  const pool = { ...(backend && { backend }), metadata: root.metadata };
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
  if (!backend) return pool;
  removeAttribute(root.fd, poolAttribute);
  for (const name of Object.keys(backend.areas)) removeIfEmpty(root.fd, name);
  backend.commit(root.fd);
  return pool;
}

/** Open disks, which only the user can judge; and what an unmount fails on, which nobody can force. */
function blockersOf(context: Context, volumes: readonly Held[], force: boolean): Blocker[] {
  const open = force ? [] : openBlockers(context, volumes);
  if (!context.driver.info.isMounted)
    return [
      ...mountBlockers(context, volumes),
      ...othersBlockers(context, volumes),
      ...open,
      ...strangers(context),
    ];
  const placed = placeBlockers(context, volumes);
  if (context.metadata.backing.type === 'existing') return [...placed, ...open];
  const disks = new Set(volumes.map((volume) => context.driver.path(volume)));
  const others = unmountObstacles(context.path, force ? new Set() : disks);
  // Of a mount that is recorded it is told how to end it for good.
  const unknown = others.filter(
    ({ what }) => !placed.some((each) => what.endsWith(each.what.replace(/^.* at /, ' on '))),
  );
  return [...placed, ...open, ...unknown];
}

/** What somebody else has made would go with the storage that Coppice has made. */
function strangers(context: Context): Blocker[] {
  if (context.metadata.backing.type === 'existing') return [];
  return context.driver.list().flatMap(({ name, metadata }) => {
    if (metadata?.type === 'volume') return [];
    const what = `${context.driver.label({ area: 'volumes', name: name as Name })} was not made by Coppice, and would be lost`;
    return [{ kind: 'volumes', what, remedy: 'move it away or destroy it by the tools that made it' }];
  });
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
