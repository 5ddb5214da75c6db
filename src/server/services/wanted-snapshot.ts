import { type Timestamp, timestampMs } from '@bufbuild/protobuf/wkt';
import { Consistency } from '../../api/generated/coppice/v1/resources_pb.ts';
import type { SnapshotRequest } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { SnapshotOptions } from '../../engine/operations/snapshot.ts';
import { consistencyOf } from '../convert-snapshot.ts';
import { badRequest } from '../failures.ts';

/** What is wanted of a snapshot beside its name. */

/** The end of the year 9999 in milliseconds: the last moment that a Timestamp may have. */
const lastMoment = 253_402_300_799_999;

/** @throws ConnectError INVALID_ARGUMENT for an expiry that is no moment to come */
export function wantedOf({
  consistency,
  allowWeaker,
  expireTime,
}: Pick<SnapshotRequest, 'consistency' | 'allowWeaker' | 'expireTime'>): Pick<
  SnapshotOptions,
  'consistency' | 'allowWeaker' | 'expires'
> {
  const level = consistencyOf(consistency);
  return {
    ...(level && { consistency: level }),
    allowWeaker,
    ...(expireTime && { expires: expiryOf(expireTime) }),
  };
}

/** @throws ConnectError INVALID_ARGUMENT when the freeze of a guest would be another level than the one that is asked for */
export function requireOneLevel({
  freeze,
  consistency,
}: Pick<SnapshotRequest, 'freeze' | 'consistency'>): void {
  if (!freeze || consistency === Consistency.UNSPECIFIED) return;
  const description = 'is what the freeze of the guest makes it; leave it out';
  throw badRequest([{ field: 'consistency', description }]);
}

function expiryOf(time: Timestamp): string {
  const milliseconds = timestampMs(time);
  if (milliseconds > Date.now() && milliseconds <= lastMoment) return new Date(milliseconds).toISOString();
  const description = milliseconds > lastMoment ? 'is after the year 9999' : 'is past';
  throw badRequest([{ field: 'expire_time', description }]);
}
