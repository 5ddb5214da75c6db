import type { Held, SnapshotRecord, VolumeRecord } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import type {
  Ancestor,
  ApplicationState,
  Consistency,
  Hold,
  SnapshotReason,
  Verification,
} from '../../model/metadata.ts';
import { parseName, parseReference } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Together } from '../../model/together.ts';
import type { TreePlace } from '../../model/tree-place.ts';
import type { Context } from '../context.ts';
import { holdSnapshot, holdVolume } from '../holding.ts';
import { problemsIn, readableSnapshotsOf } from '../problems.ts';
import { inStorageOrder } from '../snapshot-order.ts';
import { contentsOf, snapshotsOf, volumesOf } from '../visible.ts';
import { type GuardState, guardsOf } from './guard-records.ts';

export interface VolumeSummary {
  readonly name: string;
  readonly type: 'template' | 'volume' | 'foreign';
  /** Only of a volume or template that is a directory and not a disk. */
  readonly kind?: 'tree';
  /** Bytes of the disk, or of what is in the directory where the storage counts that; absent when it is not there. */
  readonly bytes?: number;
  readonly id?: string;
  /** ISO 8601, UTC. */
  readonly created?: string;
  readonly origin?: Ancestor;
  /** Where else on the host a directory tree is, as far as that is recorded. */
  readonly at?: TreePlace;
  readonly snapshots: number;
  /** The mark of the request that made it, where it was given one. */
  readonly request?: string;
}

export interface SnapshotSummary {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  readonly name: string;
  /** Of a directory tree it is only there where the storage counts what is in it. */
  readonly bytes?: number;
  /** It is a directory and not a disk, and its size is not counted. */
  readonly kind?: 'tree';
  readonly created?: string;
  readonly consistency?: Consistency;
  /** The applications that were held still for it, and what a start from it has to do. */
  readonly applications?: readonly ApplicationState[];
  readonly reason?: SnapshotReason;
  /** The id of the group that it was taken with, which its other members have too. */
  readonly group?: string;
  /** The snapshots of other volumes that it can't be used without, because one application lies in all of them. */
  readonly together?: Together;
  /** The mark of the request that took it, or whose rollback it undoes. */
  readonly request?: string;
  /** Somebody wants it to stay. */
  readonly hold?: Hold;
  /** ISO 8601, UTC: from when policies remove it. */
  readonly expires?: string;
  /** Whether it was proven to be good. */
  readonly verified?: Verification;
}

/** All volumes and templates, sorted by name. What Coppice did not make is listed as `foreign` and never touched. */
export function list(context: Context): VolumeSummary[] {
  return volumesOf(context).map(summarize).sort(byName);
}

/** The snapshots of one volume, or of all, the oldest first. */
export function listSnapshots(context: Context, volume?: string): SnapshotSummary[] {
  if (volume !== undefined) return summarizeSnapshots(volume, snapshotsOf(context, parseName(volume)));
  return [...contentsOf(context)]
    .sort((a, b) => byName(a.volume, b.volume))
    .flatMap(({ volume: { name }, snapshots }) => summarizeSnapshots(name, snapshots));
}

/** A volume, template or foreign thing, and its snapshots, the oldest first. */
export interface Listed {
  readonly volume: VolumeSummary;
  readonly snapshots: readonly SnapshotSummary[];
}

/** All of that, in no order: what `list` and `listSnapshots` tell, from one look. */
export function listContents(context: Context): Listed[] {
  return contentsOf(context).map(({ volume, snapshots }) => ({
    volume: summarize({ ...volume, snapshots: snapshots.length }),
    snapshots: summarizeSnapshots(volume.name, snapshots),
  }));
}

export interface VolumeDetails extends VolumeSummary {
  /** Absent of a directory that is mounted nowhere at the moment. */
  readonly path?: string;
  readonly ancestors: readonly Ancestor[];
  readonly method?: string;
  /** Extents when it was sealed; only of a template. */
  readonly extents?: number;
  readonly snapshotList: readonly SnapshotSummary[];
  /** What is set for it; absent where nothing is. */
  readonly settings?: Settings;
  /** Changes to it that are being tried, or were when whoever tried them died, the outermost first; absent where there are none. */
  readonly guards?: readonly GuardState[];
  /** What was changed behind Coppice's back. */
  readonly problems: readonly string[];
}

/** Everything about one volume or template. */
export function show(context: Context, nameText: string): VolumeDetails {
  const { volume: name, snapshot } = parseReference(nameText);
  using volume = holdVolume(context, name, 'shared');
  if (snapshot) holdSnapshot(context, volume, snapshot, 'shared')[Symbol.dispose]();
  const snapshots = summarizeSnapshots(name, readableSnapshotsOf(context, name) ?? []).filter(
    (entry) => !snapshot || entry.name === snapshot,
  );
  const state = context.driver.inspect(volume.held);
  const isMountable = volume.metadata.kind === 'tree' && context.driver.mountedAt !== undefined;
  const path = isMountable ? context.driver.mountedAt?.(volume.held) : context.driver.path(volume.held);
  return {
    ...summarize({ name, metadata: volume.metadata, bytes: state?.bytes, snapshots: snapshots.length }),
    ...(path !== undefined && { path }),
    ancestors: volume.metadata.origin,
    method: volume.metadata.method,
    ...(volume.metadata.sealed && { extents: volume.metadata.sealed.extents }),
    snapshotList: snapshots,
    ...(volume.metadata.settings && { settings: volume.metadata.settings }),
    ...(volume.metadata.guards?.length && { guards: guardsOf(context, volume) }),
    problems: problemsIn(context, volume).map((problem) => problem.message),
  };
}

/** The path that a virtual machine monitor opens; of a tree, its directory. */
export function path(context: Context, referenceText: string): string {
  const reference = parseReference(referenceText);
  using volume = holdVolume(context, reference.volume, 'shared');
  if (!reference.snapshot) return pathOfDisk(context, volume.held);
  using snapshot = holdSnapshot(context, volume, reference.snapshot, 'shared');
  return pathOfDisk(context, snapshot);
}

/** @throws CoppiceError damaged when there is no disk: whoever opens the path for writing would make an empty file there */
function pathOfDisk(context: Context, held: Held): string {
  context.driver.size(held);
  if (context.driver.inspect(held)) return context.driver.path(held);
  throw new CoppiceError(
    'damaged',
    'Something else stands in the place of the data of this volume; "coppice pool check" says more.',
  );
}

function summarizeSnapshots(volume: string, records: readonly SnapshotRecord[]): SnapshotSummary[] {
  return inStorageOrder(records).map((record) => ({
    reference: `${volume}@${record.name}`,
    name: record.name,
    ...(record.bytes !== undefined && { bytes: record.bytes }),
    ...(record.isTree && { kind: 'tree' as const }),
    ...(record.metadata?.type === 'snapshot' && {
      created: record.metadata.created,
      consistency: record.metadata.consistency,
      reason: record.metadata.reason,
      ...(record.metadata.applications && { applications: record.metadata.applications }),
      ...(record.metadata.group !== undefined && { group: record.metadata.group }),
      ...(record.metadata.together && { together: record.metadata.together }),
      ...(record.metadata.request !== undefined && { request: record.metadata.request }),
      ...(record.metadata.hold && { hold: record.metadata.hold }),
      ...(record.metadata.expires !== undefined && { expires: record.metadata.expires }),
      ...(record.metadata.verified && { verified: record.metadata.verified }),
    }),
  }));
}

function summarize(record: Pick<VolumeRecord, 'name' | 'metadata' | 'bytes' | 'snapshots'>): VolumeSummary {
  const { name, bytes, snapshots, metadata } = record;
  const size = bytes === undefined ? {} : { bytes };
  if (metadata?.type !== 'volume') return { name, type: 'foreign', ...size, snapshots };
  return {
    name,
    type: metadata.sealed ? 'template' : 'volume',
    ...(metadata.kind === 'tree' && { kind: metadata.kind }),
    ...size,
    id: metadata.id,
    created: metadata.created,
    ...(metadata.origin[0] && { origin: metadata.origin[0] }),
    ...(metadata.at && { at: metadata.at }),
    snapshots,
    ...(metadata.request !== undefined && { request: metadata.request }),
  };
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
