import { isName } from './names.ts';
import { isSettings } from './settings.ts';

/** What can be in a field of metadata: anything may stand in an attribute, and unknown means absent. */

export function isLineage(value: unknown): boolean {
  return Array.isArray(value) && value.every((ancestor) => hasStrings(ancestor, ['id', 'name']));
}

export function isStringOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

export function areStringsOrAbsent(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every((each) => typeof each === 'string'));
}

/** It is looked for among the entries of the pool, so it must be no path. */
export function isIdOrAbsent(value: unknown): boolean {
  return value === undefined || (typeof value === 'string' && /^[0-9a-f-]{36}$/.test(value));
}

export function isSeal(value: unknown): boolean {
  return value === undefined || (hasStrings(value, ['at', 'generation']) && hasNumber(value, 'extents'));
}

export function isAdoptedFile(value: unknown): boolean {
  return (
    value === undefined ||
    (hasStrings(value, ['file', 'inode', 'changed']) &&
      hasNumber(value, 'bytes') &&
      isStringOrAbsent((value as Record<string, unknown>)['filesystem']))
  );
}

export function isBacking(value: unknown): boolean {
  if (!hasStrings(value, ['type'])) return false;
  const { type, file, device, devices } = value as Record<string, unknown>;
  return (
    type === 'existing' ||
    (type === 'zpool' && Array.isArray(devices) && devices.every((each) => typeof each === 'string')) ||
    (type === 'loop' && typeof file === 'string') ||
    (type === 'device' && typeof device === 'string')
  );
}

/** Their snapshots become names of directories. */
export function areGuards(value: unknown): boolean {
  if (value === undefined) return true;
  return (
    Array.isArray(value) &&
    value.every((each) => {
      if (!hasStrings(each, ['id', 'snapshot', 'since'])) return false;
      const { snapshot, keeper } = each as Record<string, unknown>;
      return isName(String(snapshot)) && isKeeper(keeper);
    })
  );
}

export function isKeeper(value: unknown): boolean {
  return hasStrings(value, ['started', 'boot']) && hasNumber(value, 'pid');
}

export function areApplications(value: unknown): boolean {
  if (value === undefined) return true;
  return (
    Array.isArray(value) &&
    value.every((each) => {
      if (!hasStrings(each, ['name', 'level', 'recovery'])) return false;
      const { details, parts } = each as Record<string, unknown>;
      return isSettings(details) && details !== undefined && areParts(parts);
    })
  );
}

export function isHold(value: unknown): boolean {
  if (value === undefined) return true;
  return hasStrings(value, ['at']) && isStringOrAbsent((value as Record<string, unknown>)['reason']);
}

export function isVerification(value: unknown): boolean {
  if (value === undefined) return true;
  if (!hasStrings(value, ['at', 'result'])) return false;
  const { result, checks } = value as Record<string, unknown>;
  return isVerdict(result) && Array.isArray(checks) && checks.every(isCheck);
}

function isCheck(value: unknown): boolean {
  if (!hasStrings(value, ['name', 'result'])) return false;
  const { result, message } = value as Record<string, unknown>;
  return isVerdict(result) && isStringOrAbsent(message);
}

function isVerdict(value: unknown): boolean {
  return value === 'passed' || value === 'failed';
}

function hasNumber(value: unknown, field: string): boolean {
  return typeof (value as Record<string, unknown>)[field] === 'number';
}

function hasStrings(value: unknown, fields: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return fields.every((field) => typeof (value as Record<string, unknown>)[field] === 'string');
}

export function isTogether(value: unknown): boolean {
  if (value === undefined) return true;
  if (!hasStrings(value, ['lead'])) return false;
  const { volumes } = value as Record<string, unknown>;
  return Array.isArray(volumes) && volumes.every(isPartner);
}

export function isRollbackTogether(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isTogether(value) || !hasStrings(value, ['group', 'leadEntry'])) return false;
  const { group, leadEntry, fences } = value as Record<string, unknown>;
  return isIdOrAbsent(group) && isIdOrAbsent(leadEntry) && Array.isArray(fences) && fences.every(isInside);
}

function areParts(value: unknown): boolean {
  if (value === undefined) return true;
  return (
    Array.isArray(value) &&
    value.every(
      (each) =>
        hasStrings(each, ['name', 'volume', 'path']) &&
        isName(String((each as Record<string, unknown>)['volume'])) &&
        [Reflect.get(each, 'name'), Reflect.get(each, 'path')].every(isInside),
    )
  );
}

function isPartner(value: unknown): boolean {
  return (
    hasStrings(value, ['volumeId', 'volume']) && isName(String((value as Record<string, unknown>)['volume']))
  );
}

/** A path without a way out of the tree that it begins in; an empty one is that tree itself. */
function isInside(value: unknown): boolean {
  return typeof value === 'string' && !value.startsWith('/') && !value.split('/').includes('..');
}
