import type { Settings } from './settings.ts';
import type { ApplicationPart, RollbackTogether, Together } from './together.ts';
import type { TreePlace } from './tree-place.ts';

/**
 * What a pool, a volume, a snapshot and an unfinished rollback say about themselves: JSON in one extended attribute of the
 * directory around the data. Anything may stand in an attribute, so it is parsed here, once, and unknown means absent.
 */

export const poolFormat = 1;

/** How many ancestors a volume remembers by itself; further ones are found through those. */
export const rememberedAncestors = 16;

/** A disk, or a directory with files. */
export type VolumeKind = 'block' | 'tree';

/** The weakest first. */
export const consistencies = ['none', 'sync', 'freeze', 'application', 'cold'] as const;

/**
 * What a snapshot was taken of. `none`: whatever had reached the disk; `sync`: what was written before the call is in it; `freeze`: the
 * writers were stopped meanwhile; `application`: each application was asked to be ready for it in its own way; `cold`: they were
 * not running.
 */
export type Consistency = (typeof consistencies)[number];

/** What was done with one application for a snapshot, and what a start from it has to do. */
export interface ApplicationState {
  /** As it is set for the volume: the setting without "quiesce.". */
  readonly name: string;
  readonly level: Consistency;
  /** What a start from the snapshot does before the application is ready: `none` where it was at rest, else such as `WAL`. */
  readonly recovery: string;
  /** What a person or a restore wants to know: short names and values. */
  readonly details: Readonly<Record<string, string>>;
  /** What of it lies in other volumes, of which snapshots were taken with this one. */
  readonly parts?: readonly ApplicationPart[];
}

/** One step of a lineage: the name is the one at the time; the id stays true when the ancestor is renamed. */
export interface Ancestor {
  readonly id: string;
  readonly name: string;
  readonly snapshot?: string;
}

export interface VolumeMetadata {
  readonly type: 'volume';
  readonly id: string;
  readonly kind: VolumeKind;
  readonly created: string;
  /** Ancestors, the nearest first. Empty for what was imported or created. */
  readonly origin: readonly Ancestor[];
  /**
   * The id that the payload carries, where it is not the volume's own: a clone by snapshot keeps its source's, because the first
   * write into a snapshot of a fragmented disk costs as much as the snapshot.
   */
  readonly payloadId?: string;
  /** How the payload was made, which decides whether an incremental stream to its origin is possible. */
  readonly method: 'create' | 'import' | 'reflink' | 'snapshot';
  /** Only of a disk that was adopted: the file it was made from. */
  readonly adopted?: AdoptedFile;
  /** Only on a template: what was true when it was sealed. */
  readonly sealed?: { readonly at: string; readonly extents: number; readonly generation: string };
  /** The group that it is removed with; means nothing unless that was committed. */
  readonly removal?: string;
  /** The mark of the request that made it, by which whoever retries knows his own work. */
  readonly request?: string;
  readonly settings?: Settings;
  /** Only of a directory tree: where else on the host it shall be. */
  readonly at?: TreePlace;
  /** Who made it for himself, and removes it: once he has died, it can go. */
  readonly keeper?: Keeper;
  /** Servers were started on it, which end when it is removed. */
  readonly branch?: true;
  /** The id of the branch whose servers have parts in it, and with which it is removed. */
  readonly branchOf?: string;
  /** Changes that are being tried, the outermost first. */
  readonly guards?: readonly GuardRecord[];
}

/** A change that is being tried: what to go back to if it fails, and who sees to that as long as he lives. */
export interface GuardRecord {
  readonly id: string;
  /** The name of the snapshot, which may not be there yet: then nothing has been changed. */
  readonly snapshot: string;
  readonly since: string;
  readonly keeper: Keeper;
  /** The change has failed, and what is left to do is to undo it, whoever does that. */
  readonly failed?: true;
}

/** A process, told from every other that had or will have its number. */
export interface Keeper {
  readonly pid: number;
  /** When it was started, in ticks since the start of the machine. */
  readonly started: string;
  /** The id of that start of the machine. */
  readonly boot: string;
  /** The namespace that the number is of; absent where that can't be told. */
  readonly namespace?: string;
}

/**
 * What tells a file from every other and from itself after a change: nobody can set the time of its record's last change back.
 * Not its path, which may be longer than what metadata holds, nor its device, whose number is another after the next mount.
 */
export interface AdoptedFile {
  readonly file: string;
  /** Whose inode number it is. Absent where that can't be told: then the file can't be recognised later. */
  readonly filesystem?: string;
  readonly inode: string;
  /** Nanoseconds since 1970. */
  readonly changed: string;
  readonly bytes: number;
}

/** The id that a volume's payload, and that of each of its snapshots, says it belongs to. */
export function payloadIdOf(metadata: VolumeMetadata): string {
  return metadata.payloadId ?? metadata.id;
}

/**
 * `rollback`: the state that a rollback replaced; `policy`: a schedule asked for it, and its policy removes it again; `guard`: what a change
 * that is tried can be undone to.
 */
export type SnapshotReason = 'user' | 'rollback' | 'policy' | 'guard';

/** Somebody wants a snapshot to stay, whatever else is said of it. */
export interface Hold {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly reason?: string;
}

/** Whether what is in a snapshot was proven to be good. */
export interface Verification {
  /** ISO 8601, UTC: when the last of the checks ended. */
  readonly at: string;
  /** `passed`: every check has. */
  readonly result: 'passed' | 'failed';
  readonly checks: readonly VerificationCheck[];
}

export interface VerificationCheck {
  /** What was looked at, as it is called by who has looked: `starts`, `amcheck`. */
  readonly name: string;
  readonly result: 'passed' | 'failed';
  /** What a person wants to know of it; short, because all metadata has to fit into one attribute. */
  readonly message?: string;
}

export interface SnapshotMetadata {
  readonly type: 'snapshot';
  readonly id: string;
  readonly volumeId: string;
  readonly created: string;
  readonly consistency: Consistency;
  readonly reason: SnapshotReason;
  /** The storage's own order of creation; the clock may jump, this does not. */
  readonly generation: string;
  /** The group that it was taken with. As long as that is not committed, the snapshot is not there for anybody. */
  readonly group?: string;
  /** The group that it is removed with; means nothing unless that was committed. */
  readonly removal?: string;
  /** The mark of the request that took it, or whose rollback it undoes. */
  readonly request?: string;
  /** The applications that were held still for it, in the order in which they were. */
  readonly applications?: readonly ApplicationState[];
  /** Neither a policy nor a person removes it before it is released. */
  readonly hold?: Hold;
  /** ISO 8601, UTC: from when policies remove it, whoever has taken it. */
  readonly expires?: string;
  readonly verified?: Verification;
  /** ISO 8601, UTC: when it was last tried to be proven by a policy and could not be, so that it is not tried again at once. */
  readonly verifyTried?: string;
  /** The snapshots that it can't be used without, nor they without it. */
  readonly together?: Together;
}

/** Written before the exchange of a rollback, so that recovery can tell whether it happened and finish it. */
export interface RollbackIntent {
  readonly type: 'rollback';
  readonly volumeId: string;
  readonly volume: string;
  readonly target: string;
  /** The name under which the replaced state will be kept. */
  readonly keep: string;
  readonly replacedUuid: string;
  readonly stagedUuid: string;
  /** The transaction of the last change to the new state, before it was put in the volume's place. */
  readonly stagedChanged?: string;
  readonly created: string;
  /** Whoever has the replaced state open is not asked. */
  readonly force?: boolean;
  readonly request?: string;
  /** Of a rollback of several volumes, of which all happen or none. */
  readonly together?: RollbackTogether;
}

/** What is left of a deleted volume that deep descendants still need in order to know where they come from. */
export interface TombstoneMetadata {
  readonly type: 'tombstone';
  readonly id: string;
  readonly name: string;
  readonly removed: string;
  readonly origin: readonly Ancestor[];
}

/** An import or another long piece of work under way: those who want its name can wait for it. */
export interface WorkIntent {
  readonly type: 'work';
  readonly action: string;
  readonly volume: string;
}

/**
 * What several volumes or snapshots have in common that appear or go together: the one entry that decides whether they have. Its
 * id is in the metadata of each.
 */
export interface GroupMetadata {
  readonly type: 'group';
  readonly action: 'snapshot' | 'remove';
  readonly created: string;
}

export interface PoolMetadata {
  readonly type: 'pool';
  readonly format: number;
  readonly id: string;
  readonly created: string;
  /** The file system that the pool was made on: a copy of the directory elsewhere is not the pool. */
  readonly filesystem: string;
  readonly backing: Backing;
  /** The mount point, where Coppice made that directory: any other was there before the pool, and outlives it. */
  readonly madeDirectory?: string;
  /** The group that was begun last: who reads the whole pool sees by it whether one was begun meanwhile. */
  readonly lastGroup?: string;
  /** ISO 8601, UTC: when policies were applied, the last time and one that is at least a day before it. They witness that the clock goes on. */
  readonly policyRuns?: readonly string[];
}

export type Backing =
  | { readonly type: 'loop'; readonly file: string; readonly preallocated: boolean }
  | { readonly type: 'device'; readonly device: string }
  | { readonly type: 'zpool'; readonly devices: readonly string[] }
  | { readonly type: 'existing' };

export type Metadata =
  | VolumeMetadata
  | SnapshotMetadata
  | RollbackIntent
  | TombstoneMetadata
  | WorkIntent
  | GroupMetadata
  | PoolMetadata;
