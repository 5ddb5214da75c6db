import { Rest } from '../../consistency/rest.ts';
import { CoppiceError } from '../../model/errors.ts';
import { applicationsOf } from '../applications.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { withParts } from '../parts.ts';
import { abandon, publishNumbered, publishSnapshot } from '../publish.ts';
import { requireSpace } from '../space.ts';
import {
  checkClaims,
  describeSnapshot,
  generatedName,
  levelOf,
  requireStill,
  type Said,
  type Snapshotted,
  summarize,
} from '../taking.ts';
import { holdAll, NotAtRest, resting, sayer, type TakenAtRest, type Work } from './at-rest.ts';
import { type SnapshotOptions, withName } from './snapshot.ts';
import {
  holdMembers,
  inOrder,
  type Member,
  of,
  publishGroup,
  type StagedMember,
  takeAll,
} from './snapshot-together.ts';
import { takeAndSay } from './take-and-say.ts';

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
  const wanted = { context, parts, references, members, options };
  const { signal } = control;
  try {
    const volumes = members.map(({ volume }) => volume);
    const applications = (): ReturnType<typeof applicationsOf> =>
      applicationsOf(context, volumes, parts, options);
    return await takeWith(wanted, async () => Rest.prepare(await applications(), signal), locks);
  } catch (error) {
    if (!(error instanceof NotAtRest)) throw error;
    const { cause } = error;
    if (!options.allowWeaker || !(cause instanceof CoppiceError) || cause.code === 'cancelled') throw cause;
    const weaker = { ...wanted, options: { ...options, consistency: 'sync' as const } };
    const taken = await takeWith(weaker, () => Rest.prepare([], signal), locks);
    return { ...taken, snapshots: taken.snapshots.map((each) => ({ ...each, weaker: cause.message })) };
  }
}

async function takeWith(
  wanted: Omit<Work, 'rest'>,
  prepare: () => Promise<Rest>,
  locks: DisposableStack,
): Promise<TakenAtRest> {
  const { context, members, options } = wanted;
  await using rest = await resting(prepare);
  for (const member of members) writeOut(context, member, options);
  const take = context.driver.snapshotTogether;
  const work = { ...wanted, rest };
  return take ? await takeAndSay(work, take) : await takeAndPublish(work, locks);
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

function writeOut(context: Context, { reference, volume }: Member, options: SnapshotOptions): void {
  if (levelOf(volume.metadata, options) !== 'none') of(reference, () => context.driver.writeOut(volume.held));
}

/** Where a copy is staged first, nobody sees it before it is all that it says. */
async function takeAndPublish(work: Work, locks: DisposableStack): Promise<TakenAtRest> {
  const { context, references, members, rest } = work;
  const staged: StagedMember[] = members.map((member) => ({
    ...member,
    staged: locks.use(context.driver.stage()),
  }));
  try {
    await resting(() => holdAll(work));
    const { created, apartMilliseconds } = takeAll(context, staged, ({ volume }) => rest.amends(volume.name));
    const states = await resting(async () => {
      requireStill({ frozenUntil: rest.until });
      await rest.release();
      return await rest.finish((volume) => copyOf(context, staged, volume));
    });
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
