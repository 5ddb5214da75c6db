import type { Driver, Held } from '../drivers/driver.ts';
import { hasErrno } from '../linux/libc.ts';
import { monotonicMilliseconds } from '../linux/monotonic.ts';
import { randomId } from '../linux/random.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Consistency, SnapshotMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { clearSnapshotName, numbered, timestampName } from './publish.ts';
import { type Marked, requestMark } from './request-mark.ts';

/** What taking one snapshot and taking several have in common. */

export interface Snapshotted {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  readonly volume: string;
  readonly name: string;
  readonly id: string;
  readonly consistency: Consistency;
  /** ISO 8601, UTC. */
  readonly created: string;
}

/** What the writers were doing when it was taken. */
export interface Stillness {
  /** What the caller has made sure of before; `sync` when absent. */
  readonly consistency?: Exclude<Consistency, 'none'>;
  /** Monotonic milliseconds until which that holds (`process.hrtime`). What is not complete by then is not taken. */
  readonly frozenUntil?: number;
}

/** What a snapshot says of itself because it was asked to. */
export type Claims = Stillness & Marked;

/** @throws CoppiceError invalid_argument when there is no such level, or the mark is none */
export function checkClaims({ consistency = 'sync', ...marked }: Claims): void {
  requestMark(marked);
  if (levels.includes(consistency)) return;
  throw new CoppiceError(
    'invalid_argument',
    `A snapshot can't be "${consistency}": its consistency is one of ${levels.join(', ')}.`,
  );
}

const levels: ReadonlyArray<Consistency> = ['sync', 'freeze', 'application', 'cold'];

/** @throws CoppiceError io_error when the writers may be writing again */
export function requireStill({ frozenUntil = Number.POSITIVE_INFINITY }: Stillness): void {
  if (monotonicMilliseconds() <= frozenUntil) return;
  throw new CoppiceError(
    'io_error',
    'The writers were to hold still until the snapshot is complete, and their time was over before.',
  );
}

export interface WantedSnapshot {
  readonly volume: HeldVolume;
  /** Without one it gets one from the time. */
  readonly name: Name | undefined;
}

/**
 * Takes snapshots where the storage makes each with its name and all in one step: nothing could be half there, and no name needs to
 * be looked for before.
 * @param group the id that those of several carry
 */
export function takeAtOnce(
  context: Context,
  take: NonNullable<Driver['snapshotTogether']>,
  wanted: readonly WantedSnapshot[],
  claims: Claims,
  group?: string,
): Snapshotted[] {
  const created = new Date();
  const names = numbered(timestampName('snap', created));
  for (let generated = names.next().value; ; ) {
    const members = wanted.map(({ volume, name = generated }) => ({
      volume,
      name,
      metadata: snapshotMetadata(volume, created, claims, group === undefined ? {} : { group }),
    }));
    requireStill(claims);
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

/** Writes the metadata of a snapshot that a user has asked for. Returns that. */
export function describeSnapshot(
  context: Context,
  staged: Held,
  volume: HeldVolume,
  created: Date,
  claims: Claims,
  group?: string,
): SnapshotMetadata {
  const generation = context.driver.inspect(staged)?.createdIn ?? '0';
  const metadata = snapshotMetadata(volume, created, claims, {
    generation,
    ...(group !== undefined && { group }),
  });
  context.driver.write(staged, metadata);
  return metadata;
}

function snapshotMetadata(
  volume: HeldVolume,
  created: Date,
  { consistency = 'sync', ...marked }: Claims,
  more: Partial<SnapshotMetadata>,
): SnapshotMetadata {
  return {
    type: 'snapshot',
    id: randomId(),
    volumeId: volume.metadata.id,
    created: created.toISOString(),
    consistency,
    reason: 'user',
    generation: '0',
    ...requestMark(marked),
    ...more,
  };
}

export function summarize(
  volume: HeldVolume,
  name: Name,
  { id, consistency, created }: SnapshotMetadata,
): Snapshotted {
  return { reference: `${volume.name}@${name}`, volume: volume.name, name, id, consistency, created };
}
