import { levelDeclared } from '../consistency/declared.ts';
import type { Driver, Held } from '../drivers/driver.ts';
import { monotonicMilliseconds } from '../linux/monotonic.ts';
import { randomId } from '../linux/random.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import {
  type ApplicationState,
  type Consistency,
  consistencies,
  type SnapshotMetadata,
  type VolumeMetadata,
} from '../model/metadata.ts';
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
  /** The applications that were held still for it; absent where there were none. */
  readonly applications?: readonly ApplicationState[];
  /** Milliseconds for which they were. */
  readonly heldMilliseconds?: number;
  /** Why it is weaker than what was wanted, which was allowed. */
  readonly weaker?: string;
  /** `VOLUME@NAME` of those that were taken with it, because its application lies in those volumes, too. */
  readonly with?: readonly string[];
  /** ISO 8601, UTC. */
  readonly created: string;
}

/** What its caller has done himself. */
export interface Stillness {
  /** What he has made sure of: then the applications of the volume are left alone. */
  readonly heldStill?: 'freeze' | 'application' | 'cold';
  /** Monotonic milliseconds until which that holds (`process.hrtime`). What is not complete by then is not taken. */
  readonly frozenUntil?: number;
}

/** How consistent a snapshot is to be. */
export interface WantedLevel {
  /** When absent, what the volume's setting `consistency` says; else `application` where it declares one, and `sync` where not. */
  readonly consistency?: Consistency;
  /** Where the level can't be reached, take one that reaches less. It says of itself which it has reached. */
  readonly allowWeaker?: boolean;
}

/** What it is for. */
export interface Purpose {
  /** ISO 8601: from when policies remove it. */
  readonly expires?: string;
  /** A policy takes it, and may remove it; or a change is tried that can be undone to it. */
  readonly reason?: 'policy' | 'guard';
}

export type Claims = WantedLevel & Stillness & Marked & Purpose;

/** What metadata has of that. @throws CoppiceError invalid_argument */
export function purposeOf(claims: Claims): Marked & Purpose {
  const { expires, reason } = claims;
  const time = Date.parse(expires ?? '');
  if (expires !== undefined && !Number.isFinite(time))
    throw new CoppiceError(
      'invalid_argument',
      `"${expires}" is no time that a snapshot could expire at; write it as 2027-01-31T12:00:00Z.`,
    );
  return {
    ...requestMark(claims),
    ...(expires !== undefined && { expires: new Date(time).toISOString() }),
    ...((reason === 'policy' || reason === 'guard') && { reason }),
  };
}

/** The name of one that is given none. */
export function generatedName({ reason }: Purpose, created: Date): Name {
  return timestampName(reason === 'policy' ? 'auto' : 'snap', created);
}

/** @throws CoppiceError invalid_argument when there is no such level, or the mark or a time is none */
export function checkClaims({ consistency, heldStill, ...others }: Claims): void {
  purposeOf(others);
  const levels: readonly string[] = consistencies;
  if (consistency !== undefined && !levels.includes(consistency)) throw noSuchLevel(consistency);
  if (heldStill !== undefined && !['freeze', 'application', 'cold'].includes(heldStill))
    throw noSuchLevel(heldStill);
}

function noSuchLevel(level: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    `A snapshot can't be "${level}": its consistency is one of ${consistencies.join(', ')}.`,
  );
}

/** The level that a snapshot of a volume is to reach. */
export function levelOf({ settings }: VolumeMetadata, { consistency, heldStill }: Claims): Consistency {
  const declared = settings?.['consistency'];
  const own = consistencies.find((level) => level === declared);
  return heldStill ?? consistency ?? own ?? levelDeclared(settings);
}

/** Whether somebody else must be brought to rest for it, which takes time of its own. */
export function needsRest(level: Consistency, { heldStill }: Claims): boolean {
  return heldStill === undefined && level !== 'none' && level !== 'sync';
}

/** What a snapshot says of itself. */
export type Said = Pick<SnapshotMetadata, 'consistency' | 'applications' | 'together'> & Marked & Purpose;

/** @throws CoppiceError io_error when the writers may be writing again */
export function requireStill({
  frozenUntil = Number.POSITIVE_INFINITY,
}: Pick<Stillness, 'frozenUntil'>): void {
  if (monotonicMilliseconds() <= frozenUntil) return;
  throw new CoppiceError(
    'io_error',
    'The writers were to hold still until the snapshot is complete, and their time was over before.',
  );
}

export interface WantedSnapshot {
  readonly volume: HeldVolume;
  readonly said: Said;
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
  claims: Stillness,
  group?: string,
): Snapshotted[] {
  const created = new Date();
  const names = numbered(generatedName(wanted[0]?.said ?? {}, created));
  for (let generated = names.next().value; ; ) {
    const members = wanted.map(({ volume, said, name = generated }) => ({
      volume,
      name,
      metadata: snapshotMetadata(volume, created, said, group === undefined ? {} : { group }),
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
  said: Said,
  group?: string,
): SnapshotMetadata {
  const generation = context.driver.inspect(staged)?.createdIn ?? '0';
  const metadata = snapshotMetadata(volume, created, said, {
    generation,
    ...(group !== undefined && { group }),
  });
  context.driver.write(staged, metadata);
  return metadata;
}

function snapshotMetadata(
  volume: HeldVolume,
  created: Date,
  { consistency, applications, together, ...purpose }: Said,
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
    ...(applications && applications.length > 0 && { applications }),
    ...(together && { together }),
    ...purposeOf(purpose),
    ...more,
  };
}

export function summarize(
  volume: HeldVolume,
  name: Name,
  { id, consistency, created, applications }: SnapshotMetadata,
): Snapshotted {
  return {
    reference: `${volume.name}@${name}`,
    volume: volume.name,
    name,
    id,
    consistency,
    ...(applications && { applications }),
    created,
  };
}
