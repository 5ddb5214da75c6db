import type { Driver, Held } from '../../drivers/driver.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata } from '../../model/metadata.ts';
import { formatReference, type Name, parseReference, type Reference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { explaining } from '../failures.ts';
import { beginGroup, commitGroup, forgetGroup, type Group } from '../groups.ts';
import { type HeldVolume, holdVolume, requireUnsealed } from '../holding.ts';
import { inLockOrder } from '../order.ts';
import { abandon, numbered, publishIfFree, publishSnapshot, requireFreeSnapshot } from '../publish.ts';
import { requireSpace } from '../space.ts';
import {
  checkClaims,
  describeSnapshot,
  generatedName,
  levelOf,
  needsRest,
  purposeOf,
  requireStill,
  type Said,
  type Snapshotted,
  type Stillness,
  summarize,
  takeAtOnce,
} from '../taking.ts';
import { type SnapshotOptions, withName } from './snapshot.ts';

export interface SnapshotGroup {
  /** The id of the group, which each of its snapshots keeps. */
  readonly group: string;
  readonly snapshots: readonly Snapshotted[];
  /** Milliseconds from before the first was taken until after the last: no two are further apart. */
  readonly apartMilliseconds: number;
  /** Whether all hold the same instant; `describe` says why not. */
  readonly sameInstant: boolean;
  /** Milliseconds for which applications were held still; absent where none were. */
  readonly heldMilliseconds?: number;
}

export interface Member {
  readonly reference: Reference;
  readonly volume: HeldVolume;
}

export interface StagedMember extends Member {
  readonly staged: Held;
}

/**
 * Takes snapshots of several volumes: all of them, or none. They appear in one step. Those without a name get the same one, from
 * the time. Nothing is done, and nothing returned, where an application has to be brought to rest for one: see `snapshotAtRest`.
 */
export function snapshotTogether(
  context: Context,
  texts: readonly string[],
  options: SnapshotOptions,
): SnapshotGroup | undefined {
  if (texts.length === 0)
    throw new CoppiceError('invalid_argument', 'There is nothing to take a snapshot of: name a volume.');
  checkClaims(options);
  requireStill(options);
  const references = withName(texts, options);
  requireSpace(context, `snapshot ${references.length} volumes`, 0);
  using locks = new DisposableStack();
  const members = holdMembers(context, references, locks);
  if (members.some(({ volume }) => needsRest(levelOf(volume.metadata, options), options))) return undefined;
  const take = context.driver.snapshotTogether;
  const purpose = purposeOf(options);
  const saidOf = ({ volume }: Member): Said => ({
    consistency: levelOf(volume.metadata, options),
    ...purpose,
  });
  for (const member of members)
    of(member.reference, () => {
      if (saidOf(member).consistency !== 'none') context.driver.writeOut(member.volume.held);
    });
  if (take) return takeWithoutGroup(context, take, references, members, saidOf, options);
  const staged: StagedMember[] = [];
  try {
    for (const member of members) staged.push({ ...member, staged: locks.use(context.driver.stage()) });
    const { created, apartMilliseconds } = takeAll(context, staged, () => false);
    requireStill(options);
    const { group, taken } = publishGroup(context, staged, created, saidOf);
    return {
      group,
      snapshots: inOrder(references, members, taken),
      apartMilliseconds,
      sameInstant: context.driver.info.capabilities.sameInstantSnapshots === true,
    };
  } catch (error) {
    for (const each of staged) abandon(context, each.staged);
    throw error;
  }
}

/** In the order of the locks, each once. Where a name has to be free beforehand, it is looked for. */
export function holdMembers(
  context: Context,
  references: readonly string[],
  locks: DisposableStack,
): readonly Member[] {
  const members = inLockOrder(references).map((text) => hold(context, text, locks));
  for (const { reference, volume } of members)
    if (reference.snapshot && !context.driver.snapshotTogether)
      requireFreeSnapshot(context, volume, reference.snapshot);
  return members;
}

/** Describes and publishes copies that were taken: all, in one step, or none. */
export function publishGroup(
  context: Context,
  staged: readonly StagedMember[],
  created: Date,
  saidOf: (member: Member) => Said,
): { readonly group: string; readonly taken: readonly Snapshotted[] } {
  using group = beginGroup(context, 'snapshot');
  try {
    const described = staged.map((member) =>
      of(member.reference, () =>
        describeSnapshot(context, member.staged, member.volume, created, saidOf(member), group.id),
      ),
    );
    const names = publishAll(context, staged, created, saidOf);
    commitGroup(context, group);
    forgetGroup(context, group);
    const taken = staged.map(({ volume }, index) =>
      summarize(volume, names[index] as Name, described[index] as SnapshotMetadata),
    );
    return { group: group.id, taken };
  } catch (error) {
    undo(context, group, staged);
    throw error;
  }
}

/** Where the storage takes them all in one step, there is no group that could be half there. */
export function takeWithoutGroup(
  context: Context,
  take: NonNullable<Driver['snapshotTogether']>,
  references: readonly string[],
  members: readonly Member[],
  saidOf: (member: Member) => Said,
  claims: Stillness,
): SnapshotGroup {
  const group = randomId();
  const wanted = members.map((member) => ({
    volume: member.volume,
    name: member.reference.snapshot,
    said: saidOf(member),
  }));
  const taken = explaining(`snapshot ${references.join(', ')}`, () =>
    takeAtOnce(context, take, wanted, claims, group),
  );
  return { group, snapshots: inOrder(references, members, taken), apartMilliseconds: 0, sameInstant: true };
}

/** As they were asked for, and each once. */
export function inOrder(
  references: readonly string[],
  members: readonly Member[],
  taken: readonly Snapshotted[],
): Snapshotted[] {
  const byReference = new Map(
    members.map(({ reference }, index) => [formatReference(reference), taken[index]]),
  );
  return [...new Set(references)].flatMap((reference) => byReference.get(reference) ?? []);
}

function hold(context: Context, text: string, locks: DisposableStack): Member {
  const reference = parseReference(text);
  const volume = locks.use(holdVolume(context, reference.volume, 'shared'));
  requireUnsealed(volume, `snapshot ${text}`);
  return { reference, volume };
}

/** All in a row: what else takes time comes before and after, so that they lie as close to each other as they can. */
export function takeAll(
  context: Context,
  members: readonly StagedMember[],
  isWritable: (member: StagedMember) => boolean,
): { readonly created: Date; readonly apartMilliseconds: number } {
  const created = new Date();
  const began = performance.now();
  for (const member of members)
    of(member.reference, () => {
      if (isWritable(member)) context.driver.stageRollback(member.volume.held, member.staged);
      else context.driver.snapshot(member.volume.held, member.staged);
    });
  return { created, apartMilliseconds: Math.round((performance.now() - began) * 1000) / 1000 };
}

/**
 * Publishes all, which nobody sees yet, and returns their names. Those that have one of their own come first and in the order of
 * the locks: such a one may wait for that of another group, and the others wait for nobody.
 */
function publishAll(
  context: Context,
  members: readonly StagedMember[],
  created: Date,
  saidOf: (member: Member) => Said,
): Name[] {
  for (const { reference, volume, staged } of members) {
    const { snapshot } = reference;
    if (snapshot) of(reference, () => publishSnapshot(context, staged, volume, snapshot));
  }
  const nameless = members.filter(({ reference }) => !reference.snapshot);
  const wanted = generatedName(nameless[0] ? saidOf(nameless[0]) : {}, created);
  const free = numbered(wanted).find((name) =>
    nameless.every((member) =>
      of(member.reference, () => publishIfFree(context, member.staged, member.volume.held, name)),
    ),
  );
  return members.map(({ reference }) => reference.snapshot ?? (free as Name));
}

/** Destroys what was made, and only then what hides it. Where that fails, the next opening of the pool does it. */
function undo(context: Context, group: Group, members: readonly StagedMember[]): void {
  try {
    for (const { staged } of members) {
      context.driver.discard(staged);
      if (context.driver.exists(staged.place)) return;
    }
    context.driver.discard(group.entry);
  } catch {}
}

/** A failure says which of the volumes it is about. */
export function of<T>(reference: Reference, step: () => T): T {
  return explaining(`snapshot ${formatReference(reference)}`, step);
}
