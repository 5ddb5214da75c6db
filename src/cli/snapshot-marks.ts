import type { SnapshotSummary } from '../engine/operations/list.ts';

/** What was said of a snapshot later than when it was taken: whether it is held, was proven, and when it goes. */
export function marksOf({ hold, verified, expires }: SnapshotSummary): string[] {
  return [
    ...(hold ? [hold.reason === undefined ? 'held' : `held: ${hold.reason}`] : []),
    ...(verified ? [verified.result === 'passed' ? 'proven' : 'found bad'] : []),
    ...(expires === undefined ? [] : [`expires ${expires.slice(0, 10)}`]),
  ];
}
