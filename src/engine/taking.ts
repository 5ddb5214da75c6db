import type { Driver, Held } from '../drivers/driver.ts';
import { hasErrno } from '../linux/libc.ts';
import { randomId } from '../linux/random.ts';
import type { SnapshotMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { clearSnapshotName, numbered, timestampName } from './publish.ts';
import type { Marked } from './request-mark.ts';

/** What taking one snapshot and taking several have in common. */

export interface Snapshotted {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  readonly volume: string;
  readonly name: string;
  readonly id: string;
  readonly consistency: 'sync';
  /** ISO 8601, UTC. */
  readonly created: string;
}

export interface WantedSnapshot {
  readonly volume: HeldVolume;
  /** Without one it gets one from the time. */
  readonly name: Name | undefined;
}

/**
 * Takes snapshots where the storage makes each with its name and all in one step: nothing could be half there, and no name needs to
 * be looked for before.
 * @param more what each says of itself: the group that those of several belong to, the mark of a request
 */
export function takeAtOnce(
  context: Context,
  take: NonNullable<Driver['snapshotTogether']>,
  wanted: readonly WantedSnapshot[],
  more: Marked & { readonly group?: string } = {},
): Snapshotted[] {
  const created = new Date();
  const names = numbered(timestampName('snap', created));
  for (let generated = names.next().value; ; ) {
    const members = wanted.map(({ volume, name = generated }) => ({
      volume,
      name,
      metadata: snapshotMetadata(volume, created, more),
    }));
    try {
      take(members.map((each) => ({ ...each, volume: each.volume.held })));
      return members.map(({ volume, name, metadata }) => summarize(volume, name, metadata));
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
      const cleared = wanted.filter(
        ({ volume, name }) => name && clearSnapshotName(context, volume, name, error),
      );
      if (cleared.length === 0) generated = names.next().value;
    }
  }
}

/** Writes the metadata of a snapshot that a user has asked for, and returns it. */
export function describeSnapshot(
  context: Context,
  staged: Held,
  volume: HeldVolume,
  created: Date,
  more: Marked & { readonly group?: string },
): SnapshotMetadata {
  const generation = context.driver.inspect(staged)?.createdIn ?? '0';
  const metadata = snapshotMetadata(volume, created, { generation, ...more });
  context.driver.write(staged, metadata);
  return metadata;
}

function snapshotMetadata(
  volume: HeldVolume,
  created: Date,
  more: Partial<SnapshotMetadata>,
): SnapshotMetadata {
  return {
    type: 'snapshot',
    id: randomId(),
    volumeId: volume.metadata.id,
    created: created.toISOString(),
    consistency: 'sync',
    reason: 'user',
    generation: '0',
    ...more,
  };
}

export function summarize(
  volume: HeldVolume,
  name: Name,
  { id, created }: Pick<SnapshotMetadata, 'id' | 'created'>,
): Snapshotted {
  const reference = `${volume.name}@${name}`;
  return { reference, volume: volume.name, name, id, consistency: 'sync', created };
}
