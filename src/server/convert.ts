import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { JobErrorSchema } from '../api/generated/coppice/v1/job_service_pb.ts';
import { ImageFormat } from '../api/generated/coppice/v1/job_service_pb.ts';
import {
  type Finding as FindingMessage,
  FindingSchema,
  Severity,
} from '../api/generated/coppice/v1/pool_service_pb.ts';
import {
  type Guard,
  GuardSchema,
  type PoolSpace as PoolSpaceMessage,
  PoolSpaceSchema,
  TreePlaceKind,
  type TreePlaceSchema,
  type Volume,
  VolumeKind,
  VolumeSchema,
  VolumeType,
} from '../api/generated/coppice/v1/resources_pb.ts';
import { type Usage as UsageMessage, UsageSchema } from '../api/generated/coppice/v1/volume_service_pb.ts';
import { snapshotName, volumeName } from '../api/resource-names.ts';
import type { DoctorFinding } from '../engine/doctor/finding.ts';
import type { GuardState } from '../engine/operations/guard-records.ts';
import type { VolumeDetails, VolumeSummary } from '../engine/operations/list.ts';
import type { Usage } from '../engine/operations/usage.ts';
import type { Finding } from '../engine/pools/check.ts';
import type { PoolSpace } from '../engine/space.ts';
import type { Ancestor } from '../model/metadata.ts';
import type { TreePlace } from '../model/tree-place.ts';
import { toConnectError } from './failures.ts';

/** What the engine says, as the contract has it. */

export function toVolume(pool: string, volume: VolumeSummary): Volume {
  return create(VolumeSchema, {
    name: volumeName(pool, volume.name),
    uid: volume.id ?? '',
    type: volumeTypes[volume.type],
    kind: volume.kind === 'tree' ? VolumeKind.TREE : VolumeKind.DISK,
    ...(volume.bytes !== undefined && { sizeBytes: BigInt(volume.bytes) }),
    ...timeField('createTime', volume.created),
    ...(volume.origin && { origin: toOrigin(volume.origin) }),
    ...(volume.at && { place: toPlace(volume.at) }),
    snapshotCount: volume.snapshots,
  });
}

export function toDetailedVolume(pool: string, details: VolumeDetails): Volume {
  const volume = toVolume(pool, details);
  volume.path = details.path ?? '';
  volume.ancestors = details.ancestors.map((each) => ({ ...toOrigin(each), $typeName: 'coppice.v1.Origin' }));
  volume.method = details.method ?? '';
  if (details.extents !== undefined) volume.extentCount = BigInt(details.extents);
  volume.problems = [...details.problems];
  volume.settings = { ...details.settings };
  volume.guards = (details.guards ?? []).map((guard) => toGuard(pool, details.name, guard));
  return volume;
}

export function toUsage(pool: string, usage: Usage): UsageMessage {
  return create(UsageSchema, {
    name: toResourceName(pool, usage.reference),
    logicalBytes: BigInt(usage.logicalBytes),
    referencedBytes: BigInt(usage.referencedBytes),
    ...(usage.exclusiveBytes !== undefined && { exclusiveBytes: BigInt(usage.exclusiveBytes) }),
    ...timeField('exclusiveTime', usage.exclusiveAt),
    ...(usage.compressRatio !== undefined && { compressRatio: usage.compressRatio }),
  });
}

export function toPoolSpace(space: PoolSpace): PoolSpaceMessage {
  return create(PoolSpaceSchema, {
    totalBytes: BigInt(space.totalBytes),
    freeBytes: BigInt(space.freeBytes),
    ...(space.compressRatio !== undefined && { compressRatio: space.compressRatio }),
    ...(space.host && {
      host: {
        path: space.host.path,
        freeBytes: BigInt(space.host.freeBytes),
        reserveBytes: BigInt(space.host.reserveBytes),
      },
    }),
  });
}

export function toFinding(finding: Finding | DoctorFinding): FindingMessage {
  const { severity, subject, message } = finding;
  const id = 'id' in finding ? finding.id : 'pool.check';
  const remedy = 'remedy' in finding ? (finding.remedy ?? '') : '';
  return create(FindingSchema, { id, severity: severities[severity], subject, message, remedy });
}

/** `VOLUME` or `VOLUME@SNAPSHOT`, as the engine calls it. */
export function toResourceName(pool: string, reference: string): string {
  const [volume = '', snapshot] = reference.split('@', 2);
  return snapshot === undefined ? volumeName(pool, volume) : snapshotName(pool, volume, snapshot);
}

/** A failure of a job, or of a part of it: what it would have been as that of a method. */
export function toJobError(error: unknown, requestId: string): MessageInitShape<typeof JobErrorSchema> {
  const failure = toConnectError(error, requestId);
  const info = failure.details.find(
    (each) => 'desc' in each && each.desc.typeName === 'google.rpc.ErrorInfo',
  );
  return {
    code: failure.code,
    message: failure.rawMessage,
    ...(info && 'desc' in info && { info: info.value as { reason: string; domain: string } }),
  };
}

function toTimestamp(iso: string | undefined): Timestamp | undefined {
  const milliseconds = iso === undefined ? Number.NaN : Date.parse(iso);
  return Number.isFinite(milliseconds) ? timestampFromMs(milliseconds) : undefined;
}

/** An optional field, left out where there is no time. */
export function timeField<K extends string>(name: K, iso: string | undefined): Partial<Record<K, Timestamp>> {
  const time = toTimestamp(iso);
  return time ? ({ [name]: time } as Record<K, Timestamp>) : {};
}

export function formatOf(format: ImageFormat): { readonly format?: 'raw' | 'qcow2' } {
  if (format === ImageFormat.RAW) return { format: 'raw' };
  return format === ImageFormat.QCOW2 ? { format: 'qcow2' } : {};
}

export function toImageFormat(format: 'raw' | 'qcow2'): ImageFormat {
  return format === 'raw' ? ImageFormat.RAW : ImageFormat.QCOW2;
}

function toOrigin(ancestor: Ancestor): { uid: string; volumeId: string; snapshotId: string } {
  return { uid: ancestor.id, volumeId: ancestor.name, snapshotId: ancestor.snapshot ?? '' };
}

function toPlace({ path, how, boot }: TreePlace): MessageInitShape<typeof TreePlaceSchema> {
  return { path, kind: how === 'mount' ? TreePlaceKind.MOUNT : TreePlaceKind.LINK, boot: boot ?? '' };
}

function toGuard(pool: string, volume: string, guard: GuardState): Guard {
  return create(GuardSchema, {
    id: guard.id,
    snapshot: snapshotName(pool, volume, guard.snapshot),
    ...timeField('createTime', guard.since),
    alive: guard.isAlive,
    begun: guard.isBegun,
    failed: guard.failed ?? false,
  });
}

const volumeTypes: Readonly<Record<VolumeSummary['type'], VolumeType>> = {
  template: VolumeType.TEMPLATE,
  volume: VolumeType.VOLUME,
  foreign: VolumeType.FOREIGN,
};

const severities = {
  ok: Severity.OK,
  info: Severity.INFO,
  warning: Severity.WARNING,
  error: Severity.ERROR,
} as const;
