import type { PoolMetadata } from '../model/metadata.ts';
import type { Driver } from './driver.ts';

/**
 * A kind of storage whose pools are no directories: what the engine needs to make, find and open such a pool. Its paths begin with
 * the name of the kind and a colon, so that they can never be taken for those of directories.
 */
export interface Store {
  /** As `--driver` calls it. */
  readonly name: StoreName;
  /** The pool that is meant when nobody names one. */
  readonly defaultPath: string;
  /** What its own tools do better than Coppice could, each as a sentence after "because". */
  readonly advice: Readonly<Record<'grow' | 'persist' | 'preallocate' | 'doctor', string>>;

  /**
   * Opens a pool and makes sure that it is one.
   * @throws CoppiceError not_a_pool, unsupported, missing_tool
   */
  openRoot(path: string): StoreRoot;
  /** @param root what `openRoot` gave, which stays the caller's */
  open(root: number, path: string): Driver;
  /** Makes a new storage pool on devices or files, each checked to be free, or takes one that exists, and makes it a pool. */
  create(path: string, request: StoreRequest): StoreMade;
  /** Whether a device or file is one of those that the pool lies on now. */
  liesOn(path: string, device: string): boolean;
  /** Destroys what `create` made, when there is nothing in it any more that is somebody's. */
  destroy(path: string, metadata: PoolMetadata): void;
}

export type StoreName = 'zfs';

export interface StoreRoot extends Disposable {
  readonly path: string;
  readonly fd: number;
  readonly metadata: PoolMetadata;
}

export interface StoreRequest {
  /** None: the storage exists. */
  readonly devices: readonly string[];
  readonly force: boolean;
  readonly id: string;
  /** ISO 8601, UTC. */
  readonly created: string;
}

export interface StoreMade {
  readonly metadata: PoolMetadata;
  /** What was done, one short phrase each. */
  readonly steps: readonly string[];
  /** What a person should know about it, one sentence each. */
  readonly warnings: readonly string[];
}
