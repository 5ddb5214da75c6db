/** Resource names of the public contract, as `proto/coppice/v1` describes them. */

export type ResourceName =
  | { readonly kind: 'pool'; readonly pool: string }
  | { readonly kind: 'volume'; readonly pool: string; readonly volume: string }
  | { readonly kind: 'snapshot'; readonly pool: string; readonly volume: string; readonly snapshot: string }
  | { readonly kind: 'job'; readonly pool: string; readonly job: string };

const segment = '([A-Za-z0-9][A-Za-z0-9._-]{0,62})';
const pattern = new RegExp(
  `^pools/${segment}(?:/(?:volumes/${segment}(?:/snapshots/${segment})?|jobs/${segment}))?$`,
);

/** Reads a resource name; undefined when it is none. */
export function parseResourceName(text: string): ResourceName | undefined {
  const [, pool, volume, snapshot, job] = (text.includes('\n') ? null : pattern.exec(text)) ?? [];
  if (pool === undefined) return undefined;
  if (job !== undefined) return { kind: 'job', pool, job };
  if (volume === undefined) return { kind: 'pool', pool };
  return snapshot === undefined
    ? { kind: 'volume', pool, volume }
    : { kind: 'snapshot', pool, volume, snapshot };
}

export function poolName(pool: string): string {
  return `pools/${pool}`;
}

export function volumeName(pool: string, volume: string): string {
  return `pools/${pool}/volumes/${volume}`;
}

export function snapshotName(pool: string, volume: string, snapshot: string): string {
  return `pools/${pool}/volumes/${volume}/snapshots/${snapshot}`;
}

export function jobName(pool: string, job: string): string {
  return `pools/${pool}/jobs/${job}`;
}
