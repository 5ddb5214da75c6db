import type { Backend, BackendName } from '../../drivers/backend.ts';
import type { StoreName } from '../../drivers/store.ts';
import type { Backing } from '../../model/metadata.ts';

export interface CreatePoolOptions {
  /** The directory of the pool, or `zfs:DATASET`. /var/lib/coppice when absent, zfs:vmpool with the driver zfs. */
  readonly path?: string;
  /** The kind of storage to make, or that must be there; btrfs when absent. */
  readonly driver?: BackendName | StoreName;
  /** A sparse file under the pool, and its size in bytes. PATH.img of 50 GiB when neither this, a device nor existing is given. */
  readonly file?: string;
  readonly bytes?: number;
  /** Reserve all of the file's blocks at once, so that the host can't run out of space under the pool. */
  readonly preallocate?: boolean;
  /** A block device to format; several for a ZFS pool over all of them. */
  readonly device?: string | readonly string[];
  /** Format the device although there is something on it. */
  readonly force?: boolean;
  /** Adopt a directory that lies on btrfs or xfs already; nothing is formatted or mounted. */
  readonly existing?: boolean;
}

/** What a claim gives: the thing to mount, locked against a second `pool create` at the same time. */
export interface Claim extends Disposable {
  readonly source: string;
  readonly backend: Backend;
  /** The descriptor that has the lock. */
  readonly lock: number;
  readonly backing: Backing;
  /** Whether the kernel must not give blocks of a file back, because they are reserved or will be. */
  readonly keepBlocks?: boolean;
}

/** That neither the file system gives reserved blocks back, nor the weekly fstrim of many hosts, which reads fstab. */
const keepingBlocks = ['nodiscard', 'X-fstrim.notrim'];

/** What mount(8) is told of a pool's file system. */
export function mountOptions(
  backing: Backing,
  backend: Backend,
  keepBlocks: boolean = backing.type === 'loop' && backing.preallocated,
): string[] {
  const always = ['noatime', 'nodev', 'nosuid'];
  if (backing.type !== 'loop') return always;
  return ['loop', ...always, ...(keepBlocks ? keepingBlocks : backend.discardOptions)];
}

/** The label of the file systems that Coppice makes, by which an interrupted run knows its own work while nothing else is in it. */
export const poolLabel = 'coppice';
