import type { Store } from './store.ts';
import { zfs } from './zfs/index.ts';

/** All kinds of storage whose pools are no directories. */
export const stores: readonly Store[] = [zfs];

export function storeNamed(name: string | undefined): Store | undefined {
  return stores.find((store) => store.name === name);
}

/** The kind that the path of a pool says it is of; undefined for a directory. */
export function storeOf(path: string): Store | undefined {
  return stores.find((store) => path.startsWith(`${store.name}:`));
}
