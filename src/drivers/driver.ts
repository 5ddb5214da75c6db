import type { Descriptor } from '../linux/files.ts';
import type { LockMode } from '../linux/locks.ts';
import type { ComparisonMethod, FoundChange } from '../model/changes.ts';
import type { Metadata, SnapshotMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';

/**
 * The contract between the engine and a backend. Each method is one transition that either happened or did not; all are
 * synchronous, because a whole operation runs in one thread. The engine owns names, locks' order, staging, tombstones, lineage
 * and retention; a driver only knows how its storage does each step. Failures are thrown as SystemError or CoppiceError.
 *
 * A *place* is where something lives; a *held* place is one that is open and locked. Whatever is made is made in a staged
 * place and moved to where it is seen; whatever is deleted is moved to the tombstones first.
 */
export interface Driver extends Disposable {
  readonly info: DriverInfo;

  /** Everything in the pool in one batched read. */
  list(detail?: RecordDetail): readonly VolumeRecord[];
  listSnapshots(volume: Name, detail?: RecordDetail): readonly SnapshotRecord[];
  /** The ids of unfinished or deleted entries. */
  listEntries(area: 'staging' | 'tombstones'): readonly string[];

  /** The names of what lies at the top of a pool, beside what Coppice keeps there. */
  foreign(): readonly string[];
  /** What a person calls a place. */
  label(place: Place): string;
  /** The names of what is in a place and was not made by Coppice, also where it stands in the place of something that was. */
  strangers(held: Held): readonly string[];

  /** The user to whom a place belongs, and who can change what it says of itself. Absent where that is only root. */
  ownerOf?(held: Held): number;
  /** What somebody else has made in a volume and would lose with it, each as a sentence names it. Absent where there is none. */
  othersIn?(held: Held): readonly string[];

  /** Opens and locks a place, and looks again that it is still there. Without `wait`, a lock that another has is `busy`. */
  hold(place: Place, mode: LockMode, wait: boolean): Held | 'absent' | 'busy';
  exists(place: Place): boolean;
  /** A new, empty, exclusively locked place that nobody sees. */
  stage(): Held;
  /**
   * Takes read-only copies of several volumes at the same instant and gives them their names, in one step; all or none. Absent where
   * the storage can't.
   * @throws SystemError EEXIST when a name is taken
   */
  snapshotTogether?(members: readonly SnapshotMember[]): void;
  /** Gives what is held a new place, atomically; @throws SystemError EEXIST when the place is taken. The lock stays. */
  move(held: Held, to: Place): void;
  read(held: Held): Metadata | undefined;
  /** The metadata of a place that somebody else holds. */
  peek(place: Place): Metadata | undefined;
  write(held: Held, metadata: Metadata): void;

  /**
   * An empty disk in a staged place.
   * @param blockBytes the size of the blocks that it is kept in, where the storage lets it be chosen
   */
  create(staged: Held, bytes: number, identity: string, blockBytes?: number): void;
  /** An empty directory tree in a staged place. Absent where there are none. */
  createTree?(staged: Held, identity: string, options: TreeOptions): void;
  /**
   * Makes a tree in a staged place of a directory outside of the pool, at once and sharing everything; false where that can't be, and
   * nothing was made.
   * @param directory open
   */
  takeTree?(staged: Held, directory: number, identity: string): boolean;
  /** Says again whose a staged tree is, after all that it holds was copied there. */
  claimTree?(staged: Held, identity: string): void;
  /** A writable copy that shares all blocks with its source. */
  clone(source: Held, staged: Held, request: CloneRequest): ClonedPayload;
  /** A read-only copy of what the source holds at this instant. Flush first. */
  snapshot(source: Held, staged: Held): void;
  /** A writable copy of a snapshot, which `exchange` then puts in the volume's place. */
  stageRollback(snapshot: Held, staged: Held): void;
  /** Exchanges the data of a volume with that of a staged place in one atomic step. */
  exchange(volume: Held, staged: Held): void;
  /** Gives a volume that has no data that of a staged place, in one atomic step. */
  adopt(volume: Held, staged: Held): void;
  grow(volume: Held, bytes: number): void;
  /** Writes the dirty data of one volume to the storage, so that what copies it next finds little to do. Durable with the next commit. */
  writeOut(held: Held): void;
  /** Destroys the data, the snapshots and the place itself. */
  discard(held: Held): void;
  /** Destroys the data and the snapshots, and leaves the place with its metadata. */
  discardData(held: Held): void;

  /** For who destroys many and commits nothing meanwhile: something to call after each, which lets others go first. */
  givingWay(): () => void;

  /** What tells the data of one place from that of another, and stays with it through an exchange; undefined when there is none. */
  payloadUuid(held: Held): string | undefined;
  /** Whether the data has nothing in it at all, not even the disk. */
  isEmpty(held: Held): boolean;
  /** What the size of this disk is a multiple of, where that is not the same for all. */
  sizeUnitOf?(held: Held): number;
  /**
   * The size of the disk in bytes, as it is now; of a tree, that of what is in it, or 0 where the storage doesn't count that.
   * @throws CoppiceError damaged when it is gone
   */
  size(held: Held): number;
  inspect(held: Held): PayloadState | undefined;
  /** What lies in the data and is not in its snapshots and clones, each as a sentence names it. */
  leftOut(held: Held): readonly string[];
  countExtents(held: Held): number;
  usage(held: Held, accuracy: 'cheap' | 'exact'): PayloadUsage;
  /**
   * What is different in the second of two directory trees, neither of which changes meanwhile; in the order of the paths. Absent where
   * there are no trees.
   * @throws CoppiceError unsupported
   */
  differences?(from: Held, to: Held): Differences;
  /** The last exclusive bytes that were measured, kept with the data. */
  recallUsage(held: Held): CachedUsage | undefined;
  rememberUsage(held: Held, usage: CachedUsage): void;
  /** What is mounted somewhere in these places. */
  mounts(held: readonly Held[]): readonly MountedPart[];
  /**
   * Has whatever is a mount of the tree in one place show that of another, with no moment in between in which it shows none. Absent
   * where the storage mounts its trees itself.
   */
  switchMounts?(from: Held, to: Held): void;
  /** Processes and devices that have the disk open. */
  holders(held: readonly Held[]): Holders;
  /** The path that a virtual machine monitor opens, from the pool's own path; of a tree, that of the directory. */
  path(held: Held): string;
  /** Opens the directory of a tree that is staged, where `path` would show it to others. Absent where it would not. */
  openStagedTree?(staged: Held): Descriptor;
  /** Where a tree is mounted now, which `path` mounts if it is not. Absent where trees are part of the pool's directory. */
  mountedAt?(held: Held): string | undefined;
  /**
   * Has a tree mounted on a directory that is empty or not there, now and at every boot; without one, where the pool says, when somebody
   * asks for its path. Absent where the engine has to do that.
   */
  mountAt?(held: Held, directory: string | undefined): void;
  /** Opens the disk in a place that nobody else works on. */
  openDisk(held: Held, access: 'read' | 'write'): Descriptor;
  /** Why what was removed is still there: the names of what depends on it. Absent where nothing ever does. */
  neededBy?(held: Held): readonly string[];

  /** Makes everything that returned before it durable. */
  commit(): void;
  space(): Space;
  /** Waits until deleted data is really freed; false where the kernel can't. */
  settle(): boolean;
}

/** How a new tree is to be kept. */
export interface TreeOptions {
  /** Directories in it whose files are overwritten in place, as paths from it. */
  readonly nodatacow?: readonly string[];
  /** Of the tree, and of the directories that are made in it. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** The mode of the tree itself. */
  readonly mode?: number;
  /** The size of the blocks that its files are kept in, where the storage lets it be chosen. */
  readonly blockBytes?: number;
}

export interface Differences {
  readonly changes: readonly FoundChange[];
  /** What was looked at: only what was written since, every record of the file system, or every file. */
  readonly method: ComparisonMethod;
}

export interface MountedPart {
  readonly path: string;
  readonly source: string;
  /** `switchMounts` has it follow the tree. */
  readonly isSwitched?: true;
}

export interface Space {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly compressRatio?: number;
}

export type Place =
  | { readonly area: 'pool' }
  | { readonly area: 'volumes'; readonly name: Name }
  | { readonly area: 'snapshots'; readonly volume: Held; readonly name: Name }
  | { readonly area: 'staging' | 'tombstones'; readonly id: string };

export interface Held extends Disposable {
  readonly place: Place;
}

export interface SnapshotMember {
  readonly volume: Held;
  readonly name: Name;
  readonly metadata: SnapshotMetadata;
}

export interface CloneRequest {
  /** The size of the clone, at least that of the source; undefined for the same. */
  readonly bytes: number | undefined;
  /** The id of the clone, which its payload carries unless that is a snapshot, which keeps its source's. */
  readonly identity: string;
  /** The clone must be able to be sent incrementally against its source. */
  readonly replicable: boolean;
  /** How many extents the source has, if that is known. */
  readonly knownExtents: number | undefined;
  /** It says more of itself than where it comes from. */
  readonly isMarked?: boolean;
}

export type CloneMethod = 'reflink' | 'snapshot';

export interface ClonedPayload {
  readonly method: CloneMethod;
  readonly bytes: number;
  /**
   * The clock says that the source's disk was touched after its place was made. For what never changes that is worth a look at
   * `inspect`, which costs calls that the others are spared.
   */
  readonly sourceTouched: boolean;
  /** What the storage itself knows of it is all of its metadata: none needs to be written, and its id is known when it has a name. */
  readonly describesItself?: true;
}

export interface PayloadState {
  /** Absent of a tree, where the storage doesn't count what is in it. */
  readonly bytes?: number;
  readonly readOnly: boolean;
  /** It is as Coppice makes it, and not a copy that other tools have made, of which there are no snapshots. */
  readonly isWhole: boolean;
  /** The id of the volume that the payload says it belongs to. */
  readonly identity: string | undefined;
  /** The transaction of the last change and of the creation. */
  readonly changedIn: string;
  readonly createdIn: string;
}

export interface PayloadUsage {
  readonly logicalBytes: number;
  readonly referencedBytes: number;
  /** Only from an exact reading, unless the storage counts them as it goes. */
  readonly exclusiveBytes?: number;
  /** How many times larger its data would be without compression; absent where the storage doesn't tell. */
  readonly compressRatio?: number;
}

export interface CachedUsage {
  readonly exclusiveBytes: number;
  /** When it was true: ISO 8601, UTC. */
  readonly at: string;
}

/** `usage`: each record says also what was measured last, which may cost one more call for each. */
export type RecordDetail = 'usage';

export interface SnapshotRecord {
  readonly name: string;
  /** Undefined: something that is not ours, or whose metadata can't be read. */
  readonly metadata: Metadata | undefined;
  /** Undefined: the disk is not there, or it is a tree and the storage doesn't count what is in it. */
  readonly bytes: number | undefined;
  /** It is a directory tree, and it is there. Says nothing where the size tells that. */
  readonly isTree?: true;
  /** Bytes of the blocks that the disk refers to. */
  readonly allocatedBytes: number | undefined;
  /** How many times larger its data would be without compression; absent where the storage doesn't tell. */
  readonly compressRatio?: number;
  /** Undefined also where it was not asked for. */
  readonly measured: CachedUsage | undefined;
}

export interface VolumeRecord extends SnapshotRecord {
  /** None, too, where this user can't read them. */
  readonly snapshots: number;
  readonly snapshotsUnreadable?: true;
  /** Its snapshots, where the storage tells them in the same read. */
  readonly snapshotRecords?: readonly SnapshotRecord[];
}

export interface Holder {
  readonly pid?: number;
  readonly command: string;
  readonly path: string;
  /** No force helps as long as it is there. */
  readonly isFirm?: true;
}

export interface Holders {
  readonly holders: readonly Holder[];
  /** False when some processes could not be looked into. */
  readonly complete: boolean;
}

/** What a backend can do, as data: a capability that is missing says why. */
export interface DriverInfo {
  readonly name: string;
  /** The pool is a directory of a mounted file system. */
  readonly isMounted: boolean;
  /** Whether a disk can share the blocks of a file beside the pool, or why it can't, in a form that follows "because". */
  readonly sharesFiles: true | string;
  /** Sizes of disks are multiples of this. */
  readonly sizeUnit: number;
  /** The sizes of blocks that a disk can be kept in, in bytes; the first is the default. Absent where there is no choice. */
  readonly blockSizes?: readonly number[];
  /** The same of the records that the files of a directory tree are kept in. */
  readonly treeBlockSizes?: readonly number[];
  readonly capabilities: Readonly<Record<Capability, true | string>>;
}

export type Capability =
  | 'blockVolumes'
  | 'treeVolumes'
  | 'nodatacow'
  | 'treeDifferences'
  | 'constantTimeClone'
  | 'snapshots'
  | 'sameInstantSnapshots'
  | 'incrementalStreams'
  | 'replicableClones'
  | 'dataChecksums';
