import { create } from '@bufbuild/protobuf';
import { type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import {
  Consistency,
  type Snapshot,
  SnapshotReason,
  SnapshotSchema,
  type Verification,
  VerificationResult,
  VerificationSchema,
} from '../api/generated/coppice/v1/resources_pb.ts';
import { snapshotName, volumeName } from '../api/resource-names.ts';
import type { SnapshotSummary } from '../engine/operations/list.ts';
import type { Snapshotted } from '../engine/taking.ts';
import type {
  ApplicationState,
  Consistency as ConsistencyText,
  Verification as Verified,
} from '../model/metadata.ts';
import { timeField } from './convert.ts';

/** Snapshots, as the contract has them. */

export function toSnapshot(pool: string, snapshot: SnapshotSummary): Snapshot {
  const [volume = '', name = ''] = snapshot.reference.split('@', 2);
  const { hold, verified, applications = [], together } = snapshot;
  return create(SnapshotSchema, {
    name: snapshotName(pool, volume, name),
    ...timeField('createTime', snapshot.created),
    ...(snapshot.bytes !== undefined && { sizeBytes: BigInt(snapshot.bytes) }),
    consistency: toConsistency(snapshot.consistency),
    // A newer version may have taken it for a reason that is not known here.
    reason: (snapshot.reason && reasons[snapshot.reason]) ?? SnapshotReason.UNSPECIFIED,
    group: snapshot.group ?? '',
    applications: applications.map(toApplication),
    ...(hold && { hold: { ...timeField('createTime', hold.at), reason: hold.reason ?? '' } }),
    ...timeField('expireTime', snapshot.expires),
    ...(verified && { verification: toVerification(verified) }),
    applicationVolumes: (together?.volumes ?? []).map((each) => volumeName(pool, each.volume)),
  });
}

/** The answer to who has had it taken, who is told more of how that went. */
export function toTakenSnapshot(
  pool: string,
  snapshot: SnapshotSummary,
  { weaker = '', heldMilliseconds }: Pick<Snapshotted, 'weaker' | 'heldMilliseconds'>,
): Snapshot {
  const message = toSnapshot(pool, snapshot);
  message.weakerReason = weaker;
  if (heldMilliseconds !== undefined) message.restDuration = toDuration(heldMilliseconds);
  return message;
}

export function toVerification({ at, result, checks }: Verified): Verification {
  return create(VerificationSchema, {
    ...timeField('verifyTime', at),
    result: results[result],
    checks: checks.map((check) => ({
      name: check.name,
      result: results[check.result],
      message: check.message ?? '',
    })),
  });
}

/** @param milliseconds also parts of one */
export function toDuration(milliseconds: number): Duration {
  const seconds = Math.floor(milliseconds / 1000);
  const nanos = Math.floor((milliseconds - seconds * 1000) * 1e6);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos });
}

/** A level that is asked for; undefined when none is. */
export function consistencyOf(consistency: Consistency): ConsistencyText | undefined {
  return levels.find((level) => consistencies[level] === consistency);
}

function toConsistency(level: ConsistencyText | undefined): Consistency {
  return (level && consistencies[level]) ?? Consistency.UNSPECIFIED;
}

function toApplication({ name, level, recovery, details }: ApplicationState): {
  readonly name: string;
  readonly consistency: Consistency;
  readonly recovery: string;
  readonly details: Record<string, string>;
} {
  return { name, consistency: toConsistency(level), recovery, details: { ...details } };
}

const consistencies: Readonly<Record<ConsistencyText, Consistency>> = {
  none: Consistency.NONE,
  sync: Consistency.SYNC,
  freeze: Consistency.FREEZE,
  application: Consistency.APPLICATION,
  cold: Consistency.COLD,
};

const levels = Object.keys(consistencies) as ConsistencyText[];

const reasons: Readonly<Record<string, SnapshotReason>> = {
  user: SnapshotReason.USER,
  rollback: SnapshotReason.ROLLBACK,
  policy: SnapshotReason.POLICY,
  guard: SnapshotReason.GUARD,
};

const results = {
  passed: VerificationResult.PASSED,
  failed: VerificationResult.FAILED,
} as const;
