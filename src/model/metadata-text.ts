import type {
  Metadata,
  PoolMetadata,
  RollbackIntent,
  SnapshotMetadata,
  TombstoneMetadata,
  VolumeMetadata,
} from './metadata.ts';
import {
  areApplications,
  areGuards,
  areStringsOrAbsent,
  isAdoptedFile,
  isBacking,
  isHold,
  isIdOrAbsent,
  isKeeper,
  isLineage,
  isRollbackTogether,
  isSeal,
  isStringOrAbsent,
  isTogether,
  isVerification,
} from './metadata-fields.ts';
import { isName } from './names.ts';
import { isSettings } from './settings.ts';
import { isTreePlace } from './tree-place.ts';

/** Metadata as it is written, and what may be believed of what is read: anybody may have written it, also a newer version. */

export function encodeMetadata(metadata: Metadata): string {
  return JSON.stringify(metadata);
}

/** The format of a pool's marker. Of a newer one nothing else is known, so this is all that is asked of it. */
export function decodePoolFormat(bytes: Buffer): number | undefined {
  const fields = parseObject(bytes);
  const format = fields?.['format'];
  return fields?.['type'] === 'pool' && typeof format === 'number' ? format : undefined;
}

/** Parses an attribute; undefined when it is not metadata that this version understands. */
export function decodeMetadata(bytes: Buffer): Metadata | undefined {
  const fields = parseObject(bytes);
  if (!fields) return undefined;
  const value: unknown = fields;
  const required = requiredStrings.get(fields['type']);
  if (!required?.every((field) => typeof fields[field] === 'string')) return undefined;
  switch (fields['type']) {
    case 'volume':
      return (fields['kind'] === 'block' || fields['kind'] === 'tree') &&
        isLineage(fields['origin']) &&
        isSeal(fields['sealed']) &&
        isAdoptedFile(fields['adopted']) &&
        isStringOrAbsent(fields['payloadId']) &&
        isStringOrAbsent(fields['request']) &&
        isIdOrAbsent(fields['removal']) &&
        isSettings(fields['settings']) &&
        areGuards(fields['guards']) &&
        (fields['keeper'] === undefined || isKeeper(fields['keeper'])) &&
        isStringOrAbsent(fields['branchOf']) &&
        isTreePlace(fields['at'])
        ? (value as VolumeMetadata)
        : undefined;
    case 'snapshot':
      return isIdOrAbsent(fields['group']) &&
        isIdOrAbsent(fields['removal']) &&
        isStringOrAbsent(fields['request']) &&
        areApplications(fields['applications']) &&
        isTogether(fields['together']) &&
        isHold(fields['hold']) &&
        isStringOrAbsent(fields['expires']) &&
        isVerification(fields['verified']) &&
        isStringOrAbsent(fields['verifyTried'])
        ? (value as SnapshotMetadata)
        : undefined;
    case 'rollback':
      // Whoever owns the pool can write here what he likes, and root finishes rollbacks: these become names of directories.
      return ['volume', 'target', 'keep'].every((field) => isName(String(fields[field]))) &&
        isStringOrAbsent(fields['request']) &&
        isRollbackTogether(fields['together'])
        ? (value as RollbackIntent)
        : undefined;
    case 'tombstone':
      return isLineage(fields['origin']) ? (value as TombstoneMetadata) : undefined;
    case 'pool':
      return typeof fields['format'] === 'number' &&
        isBacking(fields['backing']) &&
        isStringOrAbsent(fields['madeDirectory']) &&
        isStringOrAbsent(fields['lastGroup']) &&
        areStringsOrAbsent(fields['policyRuns'])
        ? (value as PoolMetadata)
        : undefined;
    default:
      return value as Metadata;
  }
}

function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

const requiredStrings: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['volume', ['id', 'kind', 'created', 'method']],
  ['snapshot', ['id', 'volumeId', 'created', 'consistency', 'reason', 'generation']],
  ['rollback', ['volumeId', 'volume', 'target', 'keep', 'replacedUuid', 'stagedUuid', 'created']],
  ['tombstone', ['id', 'name', 'removed']],
  ['work', ['action', 'volume']],
  ['group', ['action', 'created']],
  ['pool', ['id', 'created', 'filesystem']],
]);
