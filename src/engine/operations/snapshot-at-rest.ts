import type { Quiescer, Subject } from '../../consistency/quiescer.ts';
import { declaredQuiescers, makeQuiescer } from '../../consistency/quiescers.ts';
import { Rest, type Member as Resting } from '../../consistency/rest.ts';
import { stopper } from '../../consistency/stop.ts';
import type { Driver } from '../../drivers/driver.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import {
  type ApplicationState,
  type Consistency,
  consistencies,
  type SnapshotMetadata,
} from '../../model/metadata.ts';
import { parseReference } from '../../model/names.ts';
import { holderBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdSnapshot } from '../holding.ts';
import { abandon, publishNumbered, publishSnapshot } from '../publish.ts';
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
  summarize,
} from '../taking.ts';
import { trustedSettings } from '../trusted-settings.ts';
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
 * held still to the end. Where the level can't be reached nothing is taken, unless a weaker one is allowed.
 * @throws CoppiceError whose sentence names the application
 */
export async function snapshotAtRest(
  context: Context,
  texts: readonly string[],
  options: SnapshotOptions,
  control: Control,
): Promise<TakenAtRest> {
  checkClaims(options);
  const references = withName(texts, options);
  requireSpace(context, `snapshot ${references.join(', ')}`, 0);
  using locks = new DisposableStack();
  const members = holdMembers(context, references, locks);
  control.report({ step: 'bringing to rest', fraction: 0 });
  const { rest, weaker } = await prepare(context, members, options, control.signal);
  await using resting = rest;
  for (const member of members) writeOut(context, member, options);
  const take = context.driver.snapshotTogether;
  const work = { context, references, members, options, rest: resting };
  const taken = take ? await takeAndSay(work, take) : await takeAndPublish(work, locks);
  if (weaker === undefined) return taken;
  return { ...taken, snapshots: taken.snapshots.map((each) => ({ ...each, weaker })) };
}

interface Work {
  readonly context: Context;
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
  context: Context,
  members: readonly Member[],
  options: SnapshotOptions,
  signal: AbortSignal | undefined,
): Promise<{ readonly rest: Rest; readonly weaker?: string }> {
  try {
    return { rest: await Rest.prepare(await applicationsOf(context, members, options), signal) };
  } catch (error) {
    if (!options.allowWeaker || !(error instanceof CoppiceError) || error.code === 'cancelled') throw error;
    return { rest: await Rest.prepare([], signal), weaker: error.message };
  }
}

async function applicationsOf(
  context: Context,
  members: readonly Member[],
  options: SnapshotOptions,
): Promise<Resting[]> {
  const { driver } = context;
  const subjects = members.map(({ volume }): Subject => {
    const isTree = volume.metadata.kind === 'tree';
    return { volume: volume.name, ...(isTree && { directory: driver.path(volume.held) }) };
  });
  const resting: Resting[] = [];
  for (const [index, { volume }] of members.entries()) {
    const level = levelOf(volume.metadata, options);
    const subject = subjects[index] as Subject;
    const scope = {
      subject,
      together: subjects,
      sameInstant: members.length === 1 || driver.snapshotTogether !== undefined,
      canAmend: driver.snapshotTogether === undefined,
    };
    if (!needsRest(level, options)) continue;
    for (const quiescer of await quiescersFor(context, volume, level)) resting.push({ quiescer, scope });
  }
  return resting;
}

/** @throws CoppiceError invalid_argument when nothing is declared that could reach the level */
async function quiescersFor(
  context: Context,
  volume: Member['volume'],
  level: Consistency,
): Promise<readonly Quiescer[]> {
  const settings = trustedSettings(context, volume);
  if (level === 'cold') return [stopper(volume.name, settings)];
  const declared = await declaredQuiescers(settings);
  if (level === 'freeze') {
    const freezers = declared.filter((quiescer) => quiescer.level === 'freeze');
    return freezers.length > 0 ? freezers : [await makeQuiescer('freeze', 'holders')];
  }
  if (declared.length > 0) return declared;
  throw new CoppiceError(
    'invalid_argument',
    `No application is declared for ${volume.name}, so no snapshot of it can be consistent for one; declare it, as with "coppice set ${volume.name} quiesce.postgres=DIRECTORY", or ask for --consistency freeze, which stops whatever has files of the volume open.`,
  );
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

/** What each snapshot says of itself. @throws CoppiceError io_error where that is weaker than what was wanted, and must not be */
function sayer(
  { options, members }: Work,
  states: ReadonlyArray<ApplicationState & { readonly volume: string }>,
): (member: Member) => Said {
  const purpose = purposeOf(options);
  const sayings = new Map(
    members.map(({ volume }): [string, Said] => {
      const wanted = levelOf(volume.metadata, options);
      const applications = states.flatMap(({ volume: of, ...state }) => (of === volume.name ? [state] : []));
      const reached = weakest(applications) ?? (needsRest(wanted, options) ? 'sync' : wanted);
      if (rank(reached) < rank(wanted) && !options.allowWeaker) {
        throw new CoppiceError(
          'io_error',
          `The snapshot of ${volume.name} would only be "${reached}", and "${wanted}" was wanted; allow a weaker one with --allow-weaker, or see why by "coppice snapshot ${volume.name} --consistency ${reached}".`,
        );
      }
      return [volume.name, { consistency: reached, applications, ...purpose }];
    }),
  );
  return ({ volume }) => sayings.get(volume.name) ?? { consistency: 'sync', ...purpose };
}

/** To stop also what nobody is asked takes nothing away from what databases were asked for. */
function weakest(all: readonly ApplicationState[]): Consistency | undefined {
  const asked = all.filter(({ level }) => level !== 'freeze');
  const applications = asked.length > 0 ? asked : all;
  return applications.map(({ level }) => level).sort((a, b) => rank(a) - rank(b))[0];
}

function rank(level: Consistency): number {
  return consistencies.indexOf(level);
}
