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
import { numbered, publishIfFree, publishSnapshot, requireFreeSnapshot, timestampName } from '../publish.ts';
import { requireSpace } from '../space.ts';
import {
  type Claims,
  checkClaims,
  describeSnapshot,
  requireStill,
  type Snapshotted,
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
}

interface Member {
  readonly reference: Reference;
  readonly volume: HeldVolume;
}

interface StagedMember extends Member {
  readonly staged: Held;
}

/**
 * Takes snapshots of several volumes: all of them, or none. They appear in one step. Those without a name get the same one, from
 * the time.
 */
export function snapshotTogether(
  context: Context,
  texts: readonly string[],
  options: SnapshotOptions,
): SnapshotGroup {
  if (texts.length === 0)
    throw new CoppiceError('invalid_argument', 'There is nothing to take a snapshot of: name a volume.');
  checkClaims(options);
  requireStill(options);
  const references = withName(texts, options);
  requireSpace(context, `snapshot ${references.length} volumes`, 0);
  using locks = new DisposableStack();
  const members = inLockOrder(references).map((text) => hold(context, text, locks));
  const take = context.driver.snapshotTogether;
  for (const { reference, volume } of members)
    if (reference.snapshot && !take) requireFreeSnapshot(context, volume, reference.snapshot);
  for (const { reference, volume } of members) of(reference, () => context.driver.writeOut(volume.held));
  if (take) return takeWithoutGroup(context, take, references, members, options);
  using group = beginGroup(context, 'snapshot');
  const staged: StagedMember[] = [];
  try {
    for (const member of members) staged.push({ ...member, staged: locks.use(context.driver.stage()) });
    const { created, apartMilliseconds } = takeAll(context, staged);
    const described = staged.map((member) =>
      of(member.reference, () =>
        describeSnapshot(context, member.staged, member.volume, created, options, group.id),
      ),
    );
    requireStill(options);
    const names = publishAll(context, staged, created);
    commitGroup(context, group);
    forgetGroup(context, group);
    const taken = staged.map(({ volume }, index) =>
      summarize(volume, names[index] as Name, described[index] as SnapshotMetadata),
    );
    return {
      group: group.id,
      snapshots: inOrder(references, members, taken),
      apartMilliseconds,
      sameInstant: context.driver.info.capabilities.sameInstantSnapshots === true,
    };
  } catch (error) {
    undo(context, group, staged);
    throw error;
  }
}

/** Where the storage takes them all in one step, there is no group that could be half there. */
function takeWithoutGroup(
  context: Context,
  take: NonNullable<Driver['snapshotTogether']>,
  references: readonly string[],
  members: readonly Member[],
  claims: Claims,
): SnapshotGroup {
  const group = randomId();
  const wanted = members.map(({ reference, volume }) => ({ volume, name: reference.snapshot }));
  const taken = explaining(`snapshot ${references.join(', ')}`, () =>
    takeAtOnce(context, take, wanted, claims, group),
  );
  return { group, snapshots: inOrder(references, members, taken), apartMilliseconds: 0, sameInstant: true };
}

/** As they were asked for, and each once. */
function inOrder(
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
function takeAll(
  context: Context,
  members: readonly StagedMember[],
): { readonly created: Date; readonly apartMilliseconds: number } {
  const created = new Date();
  const began = performance.now();
  for (const { reference, volume, staged } of members)
    of(reference, () => context.driver.snapshot(volume.held, staged));
  return { created, apartMilliseconds: Math.round((performance.now() - began) * 1000) / 1000 };
}

/**
 * Publishes all, which nobody sees yet, and returns their names. Those that have one of their own come first and in the order of
 * the locks: such a one may wait for that of another group, and the others wait for nobody.
 */
function publishAll(context: Context, members: readonly StagedMember[], created: Date): Name[] {
  for (const { reference, volume, staged } of members) {
    const { snapshot } = reference;
    if (snapshot) of(reference, () => publishSnapshot(context, staged, volume, snapshot));
  }
  const nameless = members.filter(({ reference }) => !reference.snapshot);
  const free = numbered(timestampName('snap', created)).find((name) =>
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
function of<T>(reference: Reference, step: () => T): T {
  return explaining(`snapshot ${formatReference(reference)}`, step);
}
