import type { Held, PayloadState, SnapshotRecord } from '../drivers/driver.ts';
import { standsInTheWay } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { payloadIdOf, type VolumeMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { isAlive } from './keeper.ts';
import { findPartner } from './partners.ts';
import { placeProblems } from './placing/place.ts';
import type { BootFiles } from './pools/boot-entry.ts';
import { snapshotsOf } from './visible.ts';

/** What was changed behind Coppice's back, one sentence. It is reported, and never refused or "repaired". */
export interface Problem {
  readonly severity: 'error' | 'warning';
  /** `VOLUME` or `VOLUME@SNAPSHOT`. */
  readonly subject: string;
  readonly message: string;
}

/**
 * The problems of a volume that is held, and of its snapshots.
 * @param snapshots where they have been read already
 */
export function problemsIn(
  context: Context,
  volume: Pick<HeldVolume, 'name' | 'metadata' | 'held'>,
  snapshots?: readonly SnapshotRecord[],
  files: BootFiles = {},
): Problem[] {
  const { name, metadata, held } = volume;
  const { at } = metadata;
  const messages = [
    ...problemsOf(name, metadata, context.driver.inspect(held)),
    ...nestedIn(context, name, held),
    ...(at ? placeProblems({ context, volume, at, files }) : []),
  ];
  return [
    ...messages.map((message): Problem => ({ severity: 'error', subject: name, message })),
    ...unfinishedIn(volume),
    ...strangersIn(context, volume),
    ...problemsOfSnapshots(context, volume, snapshots),
  ];
}

/** What somebody has begun, and did not end before he died. */
function unfinishedIn({ name, metadata }: Pick<HeldVolume, 'name' | 'metadata'>): Problem[] {
  const guard = metadata.guards?.find(({ keeper, failed }) => failed || !isAlive(keeper));
  if (!guard) return [];
  const what = guard.failed
    ? 'has failed and is not undone'
    : 'was under way when whoever tried it was killed';
  return [
    {
      severity: 'warning',
      subject: name,
      message: `A change to ${name} that was begun at ${guard.since} ${what}; undo it with "coppice guard ${name} --recover", or leave it with --accept.`,
    },
  ];
}

/** The snapshots of a volume; undefined where this user can't read them, which `problemsIn` tells. */
export function readableSnapshotsOf(context: Context, name: Name): readonly SnapshotRecord[] | undefined {
  try {
    return snapshotsOf(context, name);
  } catch (error) {
    if (hasErrno(error, 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

function problemsOfSnapshots(
  context: Context,
  volume: Pick<HeldVolume, 'name' | 'metadata' | 'held'>,
  known?: readonly SnapshotRecord[],
): Problem[] {
  const { name } = volume;
  const records = known ?? readableSnapshotsOf(context, name);
  if (!records) return [unreadable(name, `The snapshots of ${name}`)];
  return records.flatMap((record) => problemsOfListed(context, volume, record.name as Name));
}

function unreadable(subject: string, what: string): Problem {
  return { severity: 'warning', subject, message: `${what} can't be read by this user; run it as root.` };
}

export function problemsOf(
  name: string,
  metadata: VolumeMetadata,
  state: PayloadState | undefined,
): string[] {
  if (!state)
    return [
      `The ${metadata.kind === 'tree' ? 'directory' : 'disk'} of ${name} is gone, or something else stands in its place; if it has a snapshot, roll back to it.`,
    ];
  if (!state.isWhole) return [plainDirectory(name)];
  const problems = foreignData(name, metadata, state);
  if (metadata.sealed && !state.readOnly) {
    problems.push(`The template ${name} has been made writable; clones of it may differ from one another.`);
  }
  if (metadata.sealed && state.changedIn !== metadata.sealed.generation) {
    problems.push(
      `The template ${name} has changed since it was sealed; import it again under another name.`,
    );
  }
  return problems;
}

/** The same of one snapshot that is held. */
export function problemsOfSnapshot(
  context: Context,
  volume: Pick<HeldVolume, 'metadata'>,
  reference: string,
  held: Held,
): string[] {
  const metadata = context.driver.read(held);
  const state = context.driver.inspect(held);
  if (!state || metadata?.type !== 'snapshot')
    return [`${reference} was not made by Coppice, or its data or metadata is gone.`];
  if (!state.isWhole) return [plainDirectory(reference)];
  const problems = foreignData(reference, volume.metadata, state);
  if (!state.readOnly) problems.push(`The snapshot ${reference} has been made writable.`);
  // Its metadata names the transaction that made its data; no later one can have changed that.
  if (state.createdIn !== metadata.generation || BigInt(state.changedIn) > BigInt(state.createdIn))
    problems.push(
      `The snapshot ${reference} has changed since it was taken; what it holds now is what somebody has put there.`,
    );
  return problems;
}

/** Nothing of a snapshot that somebody is removing. */
function problemsOfListed(
  context: Context,
  volume: Pick<HeldVolume, 'name' | 'metadata' | 'held'>,
  name: Name,
): Problem[] {
  const subject = `${volume.name}@${name}`;
  const error = (message: string): Problem => ({ severity: 'error', subject, message });
  try {
    const held = context.driver.hold({ area: 'snapshots', volume: volume.held, name }, 'shared', false);
    if (typeof held === 'string') return [];
    using snapshot = held;
    const problems = problemsOfSnapshot(context, volume, subject, snapshot);
    return [...problems, ...partsGone(context, subject, snapshot)].map(error);
  } catch (failure) {
    if (hasErrno(failure, 'EACCES', 'EPERM')) return [unreadable(subject, subject)];
    if (!standsInTheWay(failure)) throw failure;
    return [error(`${subject} was not made by Coppice, and is no snapshot.`)];
  }
}

/** What a snapshot can't be used without, and is not there any more. */
function partsGone(context: Context, subject: string, held: Held): string[] {
  const metadata = context.driver.read(held);
  if (metadata?.type !== 'snapshot' || metadata.group === undefined) return [];
  const { volumeId, together, group } = metadata;
  if (!together || together.lead !== volumeId) return [];
  return together.volumes
    .filter((partner) => !findPartner(context, partner, group))
    .map(
      ({ volume }) =>
        `${subject} can't be used any more: it was taken together with a snapshot of ${volume}, in which parts of its application are, and that one is gone; remove it.`,
    );
}

function strangersIn(
  context: Context,
  { name, metadata, held }: Pick<HeldVolume, 'name' | 'metadata' | 'held'>,
): Problem[] {
  // What stands in the place of the data is told by the disk that is missing then.
  const data = metadata.kind === 'tree' ? 'active' : 'data';
  const strangers = context.driver.strangers(held).filter((stranger) => stranger !== data);
  return strangers.map((stranger) => ({
    severity: stranger === 'snapshots' ? 'error' : 'warning',
    subject: name,
    message: `${context.path}/volumes/${name}/${stranger} was not made by Coppice; it is left alone, also when ${name} is removed.`,
  }));
}

function plainDirectory(label: string): string {
  return `The data of ${label} is a plain directory, which other tools have copied there, and of which there are no snapshots; import its disk under another name, and remove this.`;
}

/** What snapshots and clones would leave out without a word. */
export function nestedIn(context: Context, name: string, held: Held): string[] {
  return context.driver
    .leftOut(held)
    .map(
      (nested) =>
        `The data of ${name} contains ${nested}, which is in none of its snapshots and clones; move it out of the pool.`,
    );
}

function foreignData(label: string, metadata: VolumeMetadata, state: PayloadState): string[] {
  if (state.identity === payloadIdOf(metadata)) return [];
  return [
    `The data of ${label} was not made for it: it says it belongs to ${state.identity ?? 'nobody'}; somebody has put it there.`,
  ];
}
