import { Rest } from '../../consistency/rest.ts';
import type { Driver } from '../../drivers/driver.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { ApplicationState, SnapshotMetadata } from '../../model/metadata.ts';
import { parseReference } from '../../model/names.ts';
import { applicationsOf } from '../applications.ts';
import { holderBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdSnapshot } from '../holding.ts';
import { type WithParts, withParts } from '../parts.ts';
import { abandon, publishNumbered, publishSnapshot } from '../publish.ts';
import { reached } from '../reached.ts';
import { requireSpace } from '../space.ts';
import {
  checkClaims,
  describeSnapshot,
  generatedName,
  levelOf,
  purposeOf,
  requireStill,
  type Said,
  type Snapshotted,
  summarize,
} from '../taking.ts';
import { type SnapshotOptions, withName } from './snapshot.ts';
import {
  holdMembers,
  inOrder,
  type Member,
  of,
  publishGroup,
  type SnapshotGroup,
  type StagedMember,
  takeAll,
  takeWithoutGroup,
} from './snapshot-together.ts';

/** A group, or what there is of one when there is one volume, which needs none. */
export interface TakenAtRest extends Omit<SnapshotGroup, 'group'> {
  readonly group?: string;
  /** Milliseconds from before the first application was held until after the last was let go. */
  readonly heldMilliseconds: number;
}

/**
 * Takes snapshots of volumes while the applications that are declared for them hold still: all, or none. What they have to do beforehand
 * is done before anything is held; the storage is flushed then; and nobody sees a snapshot before every application has said that it
 * held still to the end. Where the level can't be reached nothing is taken, unless a weaker one is allowed. The volumes that an
 * application is declared to lie in are taken with its own, also where only that was named.
 * @throws CoppiceError whose sentence names the application
 */
export async function snapshotAtRest(
  context: Context,
  texts: readonly string[],
  options: SnapshotOptions,
  control: Control,
): Promise<TakenAtRest> {
  checkClaims(options);
  const parts = withParts(context, withName(texts, options), options);
  const { references } = parts;
  requireSpace(context, `snapshot ${references.join(', ')}`, 0);
  using locks = new DisposableStack();
  const members = holdMembers(context, references, locks);
  requireOnce(members);
  control.report({ step: 'bringing to rest', fraction: 0 });
  const { rest, weaker } = await prepare({ context, parts, members, options }, control.signal);
  await using resting = rest;
  for (const member of members) writeOut(context, member, options);
  const take = context.driver.snapshotTogether;
  const work = { context, parts, references, members, options, rest: resting };
  const taken = take ? await takeAndSay(work, take) : await takeAndPublish(work, locks);
  if (weaker === undefined) return taken;
  return { ...taken, snapshots: taken.snapshots.map((each) => ({ ...each, weaker })) };
}

/** What is done with an application is done for one snapshot of it. @throws CoppiceError invalid_argument */
function requireOnce(members: readonly Member[]): void {
  const twice = members.find(({ volume }, index) => members[index - 1]?.volume.name === volume.name);
  if (!twice) return;
  const { name } = twice.volume;
  throw new CoppiceError(
    'invalid_argument',
    `${name} is named more than once, and what runs on it is brought to rest for one snapshot at a time; take one after the other.`,
  );
}

interface Work {
  readonly context: Context;
  readonly parts: WithParts;
  readonly references: readonly string[];
  readonly members: readonly Member[];
  readonly options: SnapshotOptions;
  readonly rest: Rest;
}

function writeOut(context: Context, { reference, volume }: Member, options: SnapshotOptions): void {
  if (levelOf(volume.metadata, options) !== 'none') of(reference, () => context.driver.writeOut(volume.held));
}

/** Where the applications can't be brought to rest and a weaker level will do, none are, and why is told. */
async function prepare(
  { context, parts, members, options }: Omit<Work, 'rest' | 'references'>,
  signal: AbortSignal | undefined,
): Promise<{ readonly rest: Rest; readonly weaker?: string }> {
  try {
    const volumes = members.map(({ volume }) => volume);
    return { rest: await Rest.prepare(await applicationsOf(context, volumes, parts, options), signal) };
  } catch (error) {
    if (!options.allowWeaker || !(error instanceof CoppiceError) || error.code === 'cancelled') throw error;
    return { rest: await Rest.prepare([], signal), weaker: error.message };
  }
}

/** Where a copy is staged first, nobody sees it before it is all that it says. */
async function takeAndPublish(work: Work, locks: DisposableStack): Promise<TakenAtRest> {
  const { context, references, members, rest } = work;
  const staged: StagedMember[] = members.map((member) => ({
    ...member,
    staged: locks.use(context.driver.stage()),
  }));
  try {
    await rest.hold();
    requireStopped(work);
    const { created, apartMilliseconds } = takeAll(context, staged, ({ volume }) => rest.amends(volume.name));
    requireStill({ frozenUntil: rest.until });
    await rest.release();
    const states = await rest.finish((volume) => copyOf(context, staged, volume));
    const complete = staged.map((member) =>
      rest.amends(member.volume.name) ? sealed(context, member, locks) : member,
    );
    const saidOf = sayer(work, states);
    const { group, taken } = publishAll(context, complete, created, saidOf);
    return {
      ...(group !== undefined && { group }),
      snapshots: inOrder(references, members, taken),
      apartMilliseconds,
      sameInstant: members.length === 1,
      heldMilliseconds: rest.heldMilliseconds,
    };
  } catch (error) {
    await rest.release().catch(() => undefined);
    throw error;
  } finally {
    for (const each of staged) abandon(context, each.staged);
  }
}

/** What stops an application has only said that it has. @throws CoppiceError blocked */
function requireStopped({ context, members, options }: Work): void {
  for (const { volume } of members) {
    if (levelOf(volume.metadata, options) !== 'cold') continue;
    const { holders } = context.driver.holders([volume.held]);
    if (holders.length === 0) continue;
    throw blockedBy(
      `${volume.name} was to be stopped, and is still in use`,
      holderBlockers({ holders: holders.map((holder) => ({ ...holder, isFirm: true })), complete: true }),
    );
  }
}

function copyOf(context: Context, staged: readonly StagedMember[], name: string): { directory?: string } {
  const member = staged.find(({ volume }) => volume.name === name);
  return member?.volume.metadata.kind === 'tree' ? { directory: context.driver.path(member.staged) } : {};
}

/** A copy that was written to becomes one that nobody can write to. */
function sealed(context: Context, member: StagedMember, locks: DisposableStack): StagedMember {
  const staged = locks.use(context.driver.stage());
  try {
    context.driver.writeOut(member.staged);
    context.driver.snapshot(member.staged, staged);
    return { ...member, staged };
  } catch (error) {
    abandon(context, staged);
    throw error;
  }
}

function publishAll(
  context: Context,
  staged: readonly StagedMember[],
  created: Date,
  saidOf: (member: Member) => Said,
): { readonly group?: string; readonly taken: readonly Snapshotted[] } {
  const [only, ...others] = staged;
  if (!only || others.length > 0) return publishGroup(context, staged, created, saidOf);
  const { volume, reference } = only;
  const said = saidOf(only);
  const metadata = describeSnapshot(context, only.staged, volume, created, said);
  const { snapshot: name } = reference;
  if (name) publishSnapshot(context, only.staged, volume, name);
  const published = name ?? publishNumbered(context, only.staged, volume.held, generatedName(said, created));
  return { taken: [summarize(volume, published, metadata)] };
}

/** Where the storage takes and names them in one step, they say no more than `sync` until the applications have said that they held. */
async function takeAndSay(work: Work, take: NonNullable<Driver['snapshotTogether']>): Promise<TakenAtRest> {
  const { context, references, members, rest, options } = work;
  const purpose = purposeOf(options);
  await rest.hold();
  requireStopped(work);
  const group = takeWithoutGroup(
    context,
    take,
    references,
    members,
    () => ({ consistency: 'sync', ...purpose }),
    { frozenUntil: rest.until },
  );
  try {
    await rest.release();
    const states = await rest.finish(() => ({}));
    const saidOf = sayer(work, states);
    const snapshots = group.snapshots.map((each) => say(work, each, saidOf));
    return { ...group, snapshots, heldMilliseconds: rest.heldMilliseconds };
  } catch (error) {
    for (const each of group.snapshots) destroy(work, each);
    throw error;
  }
}

function memberOf({ members }: Work, { volume }: Snapshotted): Member {
  return members.find((member) => member.volume.name === volume) as Member;
}

function say(work: Work, taken: Snapshotted, saidOf: (member: Member) => Said): Snapshotted {
  const { context } = work;
  const member = memberOf(work, taken);
  const name = parseReference(taken.reference).snapshot;
  if (!name) return taken;
  using held = holdSnapshot(context, member.volume, name, 'exclusive');
  const known = context.driver.read(held);
  const metadata = { ...known, ...saidOf(member) } as SnapshotMetadata;
  context.driver.write(held, metadata);
  return summarize(member.volume, name, metadata);
}

/** What does not hold what it was asked for is not to be found under its name. */
function destroy(work: Work, taken: Snapshotted): void {
  const name = parseReference(taken.reference).snapshot;
  if (!name) return;
  try {
    using held = holdSnapshot(work.context, memberOf(work, taken).volume, name, 'exclusive');
    work.context.driver.discard(held);
  } catch {}
}

/** What each snapshot says of itself. */
function sayer(
  { options, members, parts }: Work,
  states: ReadonlyArray<ApplicationState & { readonly volume: string }>,
): (member: Member) => Said {
  const said = reached(
    members.map(({ volume }) => volume),
    states,
    parts,
    options,
  );
  return ({ volume }) => said.get(volume.name) ?? { consistency: 'sync', ...purposeOf(options) };
}
