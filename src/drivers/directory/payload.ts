import type {
  ClonedPayload,
  CloneRequest,
  DriverInfo,
  PayloadState,
  PayloadUsage,
  VolumeRecord,
} from '../driver.ts';
import type { Scope } from './discard.ts';
import type { HeldDirectory } from './places.ts';

/**
 * What a file system does in its own way with the data of an entry: something named `data` in the entry's directory that holds the
 * disk. Entries are open directories.
 */
export interface Payload {
  readonly info: DriverInfo;

  /**
   * All volumes with all details in fewer calls than one for each. Where it can't (it may need root), undefined: then they are
   * looked at one by one.
   */
  listVolumes?(volumes: number): VolumeRecord[] | undefined;

  create(entry: number, bytes: number, identity: string): void;
  clone(source: HeldDirectory, staged: HeldDirectory, request: CloneRequest): ClonedPayload;
  /** A copy of what the source holds at this instant. */
  snapshot(source: number, entry: number, access: 'readonly' | 'writable'): void;
  /** Destroys the data of an entry, if there is any. Can be interrupted at any point and run again. */
  destroy(entry: number, scope: Scope): void;

  /** See the driver's; absent where nobody is held up. */
  givingWay?(root: number): () => void;

  /** What tells the data of one entry from that of another, and stays with it through an exchange. */
  uuid(entry: number): string | undefined;
  inspect(entry: number): PayloadState | undefined;
  leftOut(entry: number): readonly string[];
  /** Walks every extent. */
  usage(entry: number): PayloadUsage;

  commit(root: number): void;
  settle(root: number): boolean;
}
