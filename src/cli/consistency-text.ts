import type { SnapshotSummary } from '../engine/operations/list.ts';

/** The level that a snapshot has reached, and what a start from it rests on, so that nobody takes it for more than it is. */
export function consistencyOf({ consistency, applications = [] }: SnapshotSummary): string {
  const recoveries = [
    ...new Set(applications.map(({ recovery }) => recovery).filter((each) => each !== 'none')),
  ];
  const level = consistency ?? '-';
  return recoveries.length > 0 ? `${level} (${recoveries.join(', ')})` : level;
}
