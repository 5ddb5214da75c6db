import type { SnapshotRecord } from '../drivers/driver.ts';

/** The oldest first: in the order in which the storage made them, which no clock can change; by name where nobody knows that. */
export function inStorageOrder<T extends Pick<SnapshotRecord, 'name' | 'metadata'>>(
  records: readonly T[],
): T[] {
  return records.toSorted(
    (a, b) => compare(generationOf(a), generationOf(b)) || compare<string>(a.name, b.name),
  );
}

function generationOf({ metadata }: Pick<SnapshotRecord, 'metadata'>): bigint {
  const generation = metadata?.type === 'snapshot' ? metadata.generation : '0';
  return /^\d{1,20}$/.test(generation) ? BigInt(generation) : 0n;
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
