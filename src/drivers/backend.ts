import type { Descriptor } from '../linux/files.ts';
import type { Driver } from './driver.ts';

/**
 * A kind of file system that a pool can lie on: what the engine needs to make, find, grow and open such a pool. What happens inside
 * of an open pool is its Driver's.
 */
export interface Backend {
  /** As mount(8), mkfs and /proc call it. */
  readonly name: BackendName;
  /** What statfs(2) says of it. */
  readonly magic: number;
  /** The smallest file for a pool, in bytes. */
  readonly smallestBytes: number;
  /** Options of a mount on a sparse file, so that what is freed goes back to the host. */
  readonly discardOptions: readonly string[];
  /** What lies at the top of a pool, each with its mode. */
  readonly areas: Readonly<Record<string, number>>;

  /** Makes an empty file system of the label in a file or on a device. */
  format(target: string, options: FormatOptions): void;
  /** Whether a file or device begins as this file system does. */
  recognises(fd: number): boolean;
  /** Opens its root read-only, where nobody sees the mount and without writing, also not what its log holds. */
  openUnseen(device: string): Descriptor;
  /** Why there can be no pool on this file system, one sentence's end; undefined when there can. */
  obstacle(root: number): string | undefined;
  /** The id of the file system that a descriptor lies on. */
  uuid(fd: number): string;
  /** Grows a mounted file system to the whole of its device. */
  grow(root: number, path: string): void;
  /** What a person types for that, where the device is his. */
  growCommand(path: string): string;
  /** Makes everything that was done before durable. */
  commit(root: number): void;
  /** Locks a pool as a whole, and waits for that; what is returned has the lock. */
  lock(root: number): Disposable;
  /**
   * Opens a pool.
   * @param root its open root directory, which stays the caller's, and must stay open as long as the driver is used
   * @param path how users reach the root; only for the paths that are handed out
   */
  open(root: number, path: string): Driver;
}

export type BackendName = 'btrfs' | 'xfs';

export interface FormatOptions {
  readonly label: string;
  /** Blocks that were reserved before stay reserved. */
  readonly keepBlocks: boolean;
  /** The program gets these; a lock on one lasts until it has ended. */
  readonly descriptors: readonly number[];
}
