import type {
  ClonedPayload,
  CloneRequest,
  Differences,
  DriverInfo,
  Holders,
  MountedPart,
  PayloadState,
  PayloadUsage,
  TreeOptions,
  VolumeRecord,
} from '../driver.ts';
import type { Scope } from './discard.ts';
import type { HeldDirectory } from './places.ts';

/**
 * What a file system does in its own way with the data of entries: something named `data` in the entry's directory that holds the
 * disk or, of a directory tree, the tree itself, named `active`.
 */
export interface Payload {
  readonly info: DriverInfo;
  readonly disks: DiskPayload;
  /** Absent where there are no trees. */
  readonly trees?: TreePayload;

  /**
   * All volumes with all details in fewer calls than one for each. Where it can't (it may need root), undefined: then they are
   * looked at one by one.
   */
  listVolumes?(volumes: number): VolumeRecord[] | undefined;

  /** Destroys the data of an entry, if there is any, of whichever kind. Can be interrupted at any point and run again. */
  destroy(entry: number, scope: Scope): void;

  /** See the driver's; absent where nobody is held up. */
  givingWay?(root: number): () => void;

  commit(root: number): void;
  settle(root: number): boolean;
}

/** The same for one kind of data. Entries are open directories. */
interface EntryPayload {
  clone(source: HeldDirectory, staged: HeldDirectory, request: CloneRequest): ClonedPayload;
  /** A copy of what the source holds at this instant. */
  snapshot(source: number, entry: number, access: 'readonly' | 'writable'): void;
  /** What tells the data of one entry from that of another, and stays with it through an exchange. */
  uuid(entry: number): string | undefined;
  inspect(entry: number): PayloadState | undefined;
  leftOut(entry: number): readonly string[];
}

export interface DiskPayload extends EntryPayload {
  create(entry: number, bytes: number, identity: string): void;
  /** Walks every extent. */
  usage(entry: number): PayloadUsage;
}

export interface TreePayload extends EntryPayload {
  create(entry: number, identity: string, options: TreeOptions): void;
  /** See the driver's `takeTree` and `claimTree`. */
  take(entry: number, directory: number, identity: string): boolean;
  claim(entry: number, identity: string): void;
  usage(entry: number, accuracy: 'cheap' | 'exact'): PayloadUsage;
  /** @throws CoppiceError damaged when it is gone */
  requireTree(entry: number): void;
  writeOut(entry: number): void;
  mounts(held: readonly HeldDirectory[], pool: string): readonly MountedPart[];
  differences(from: HeldDirectory, to: HeldDirectory): Differences;
  switchMounts(from: HeldDirectory, to: HeldDirectory, pool: string): void;
  holders(held: readonly HeldDirectory[], pool: string): Holders;
}
