import type { Capability } from '../../drivers/driver.ts';
import { mountOf } from '../../linux/mounts.ts';
import type { Backing } from '../../model/metadata.ts';
import type { Context } from '../context.ts';
import { list } from '../operations/list.ts';
import { type PoolSpace, poolSpace } from '../space.ts';
import { presentBacking } from './beneath.ts';

export interface PoolDescription {
  readonly path: string;
  readonly id: string;
  readonly driver: string;
  readonly created: string;
  /** With the names that the file or device has now. */
  readonly backing: Backing;
  /** The device that is mounted, as it is called now. */
  readonly device: string;
  readonly mountOptions: readonly string[];
  readonly space: PoolSpace;
  readonly templates: number;
  readonly volumes: number;
  readonly snapshots: number;
  /** Deleted entries whose data is still being freed, or whose record of lineage is kept. */
  readonly tombstones: number;
  readonly capabilities: Readonly<Record<Capability, true | string>>;
}

/** What changes all the time, told without looking at any volume. */
export interface PoolVitals {
  readonly space: PoolSpace;
  readonly tombstones: number;
}

export function vitals(context: Context): PoolVitals {
  return { space: poolSpace(context), tombstones: context.driver.listEntries('tombstones').length };
}

export function describePool(context: Context): PoolDescription {
  const entries = list(context);
  const { isMounted } = context.driver.info;
  const mount = isMounted ? mountOf(context.path) : undefined;
  return {
    path: context.path,
    id: context.metadata.id,
    driver: context.driver.info.name,
    created: context.metadata.created,
    backing: isMounted ? presentBacking(context.path, context.metadata.backing) : context.metadata.backing,
    device: mount?.source ?? '',
    mountOptions: mount?.options ?? [],
    ...vitals(context),
    templates: entries.filter((entry) => entry.type === 'template').length,
    volumes: entries.filter((entry) => entry.type === 'volume').length,
    snapshots: entries.reduce((sum, entry) => sum + entry.snapshots, 0),
    capabilities: context.driver.info.capabilities,
  };
}
