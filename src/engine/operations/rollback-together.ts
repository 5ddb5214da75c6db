import { postgresIn } from '../../consistency/declared-volumes.ts';
import { putUpFence } from '../../consistency/postgres/fence.ts';
import type { Held } from '../../drivers/driver.ts';
import { randomId } from '../../linux/random.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { ApplicationState, RollbackIntent } from '../../model/metadata.ts';
import { formatReference, type Name, parseSnapshotReference, type Reference } from '../../model/names.ts';
import type { RollbackTogether } from '../../model/together.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import {
  type All,
  completeTogether,
  type Exchanged,
  exchangeAll,
  takeAllBack,
} from '../exchange-together.ts';
import { type HeldVolume, holdSnapshot, holdVolume } from '../holding.ts';
import { inLockOrder } from '../order.ts';
import { type PartnerSnapshot, type Whole, wholeOf } from '../partners.ts';
import { problemsOfSnapshot } from '../problems.ts';
import { abandon } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { removeStale } from '../stale-files.ts';
import { requireOwner, trustedSettings } from '../trusted-settings.ts';
import { assemble } from './part-copies.ts';
import {
  announce,
  blockersOf,
  type RollbackOptions,
  type RolledBack,
  requireChangeable,
  requireRollable,
} from './rollback.ts';

/** One of the volumes. */
interface Member extends Required<Reference> {
  readonly held: HeldVolume;
  readonly target: Held;
  /** What its volume was called when the snapshot was taken. */
  readonly was: string;
}

/** The volume that was named first. */
type Members = readonly [Member, ...Member[]];

interface Work {
  readonly context: Context;
  readonly members: Members;
  readonly whole: Whole;
  readonly options: RollbackOptions;
  readonly mark: Marked;
  readonly signal: AbortSignal;
}

/**
 * Puts all volumes that an application lies in back to snapshots that were taken together: all, or none. Their new states are made
 * first, with whatever the application needs that it can be started from them. Then they are exchanged, one right after the other, and
 * until the last has been, and that is durable, the application can't be started: see `exchange-together.ts`. What is replaced is kept
 * of each, and to go back to that of the first undoes all.
 * @throws CoppiceError not_found when a snapshot is gone; unsupported where that can't be done, with what to do by hand
 */
export async function rollbackTogether(
  context: Context,
  referenceText: string,
  options: RollbackOptions,
  control: Control,
): Promise<RolledBack> {
  const reference = parseSnapshotReference(referenceText);
  const mark = requestMark(options);
  const action = `roll back ${reference.volume} to ${reference.snapshot}`;
  requireSpace(context, action, 0);
  const whole = wholeOf(context, reference, action);
  using locks = new DisposableStack();
  const members = holdAll(context, reference, whole, locks);
  for (const { held, target, snapshot } of members) {
    requireChangeable(held, snapshot, action);
    requireRollable(context, held, target);
  }
  requireStill(context, members, whole);
  requireByPath(context, members, action);
  const blockers = members.flatMap(({ held }) => blockersOf(context, held, options));
  const warnings = members.flatMap(({ held, target, ...each }) =>
    problemsOfSnapshot(context, held, formatReference(each), target),
  );
  const result = { ...reference, ...(warnings.length > 0 && { warnings }) };
  if (options.dryRun) return { ...result, with: members.slice(1).map(named), blockers };
  if (blockers.length > 0) throw blockedBy(`Could not ${action}`, blockers);
  const signal = control.signal ?? new AbortController().signal;
  const [kept, ...others] = await exchangeMembers({ context, members, whole, options, mark, signal }, locks);
  return {
    ...result,
    ...undoing(reference.volume, kept),
    with: members
      .slice(1)
      .map((member, index) => ({ ...named(member), ...undoing(member.volume, others[index]) })),
  };
}

function named({ volume, snapshot }: Member): Required<Reference> {
  return { volume, snapshot };
}

function undoing(volume: Name, kept: Name | undefined): { readonly undo?: string } {
  return kept === undefined ? {} : { undo: formatReference({ volume, snapshot: kept }) };
}

/** Locks all in the order of their names, and returns them with the first in front. */
function holdAll(
  context: Context,
  reference: Required<Reference>,
  { partners }: Whole,
  locks: DisposableStack,
): Members {
  const wanted: Array<Required<Reference> & Pick<PartnerSnapshot, 'was'>> = [
    { ...reference, was: reference.volume },
    ...partners.map(({ volume, snapshot, was }) => ({ volume, snapshot, was })),
  ];
  const held = new Map<string, Member>();
  for (const name of inLockOrder(wanted.map(({ volume }) => volume))) {
    const member = wanted.find(({ volume }) => volume === name) as (typeof wanted)[number];
    const volume = locks.use(holdVolume(context, member.volume, 'exclusive'));
    requireOwner(context, volume, 'roll it back with others');
    const target = locks.use(holdSnapshot(context, volume, member.snapshot, 'shared'));
    held.set(name, { ...member, held: volume, target });
  }
  return wanted.map(({ volume }) => held.get(volume) as Member) as unknown as Members;
}

/**
 * Between the look and the locks somebody may have put other snapshots under these names.
 * @throws CoppiceError busy; unsupported where a volume has parts of something else, too, which would not go back
 */
function requireStill(context: Context, members: Members, { metadata: { group, together } }: Whole): void {
  for (const { target, held } of members) {
    const metadata = context.driver.read(target);
    if (metadata?.type !== 'snapshot' || metadata.group !== group)
      throw new CoppiceError('busy', `Somebody else is changing the snapshots of ${held.name}; try again.`);
    if (metadata.together?.lead === together?.lead) continue;
    throw new CoppiceError(
      'unsupported',
      `${held.name} has also parts of a cluster in another volume, which would not go back with it; stop both clusters, and roll back each volume with --alone.`,
    );
  }
}

/** @throws CoppiceError unsupported where new states can't be written to before they are in place */
function requireByPath({ driver }: Context, members: Members, action: string): void {
  if (!driver.mountedAt) return;
  const commands = members.map((member) => `"coppice rollback ${formatReference(named(member))} --alone"`);
  throw new CoppiceError(
    'unsupported',
    `Could not ${action}: it lies in ${members.length} volumes, and on this storage they can't be put back in such a way that nothing is started from a mix; stop what runs on them, keep it from being started, and run ${commands.join(', then ')}.`,
  );
}

async function exchangeMembers(work: Work, locks: DisposableStack): Promise<Array<Name | undefined>> {
  const { context, members } = work;
  const staged = members.map((member) => ({ ...member, staged: locks.use(context.driver.stage()) }));
  let all: All | undefined;
  try {
    for (const { target, staged: entry } of staged) context.driver.stageRollback(target, entry);
    const fences = await prepare(work, staged);
    all = announceAll(work, staged, fences);
    exchangeAll(context, all, () => lookAgain(work));
  } catch (error) {
    // Nothing was exchanged before all were announced.
    if (!all) for (const { staged: entry } of staged) abandon(context, entry);
    else goBack(context, all, error);
    throw error;
  }
  try {
    return completeTogether(context, all);
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'blocked') throw error;
    throw interrupted(all, error);
  }
}

/** Somebody may have opened one while the new states were made. @throws CoppiceError blocked */
function lookAgain({ context, members, options }: Work): void {
  const blockers = members.flatMap(({ held }) => blockersOf(context, held, options));
  if (blockers.length === 0) return;
  throw blockedBy(`Could not roll back ${members.map(({ volume }) => volume).join(', ')}`, blockers);
}

/** Where that fails, too, nothing that was replaced is lost, and nothing can be started: the next opening of the pool finishes all. */
function goBack(context: Context, all: All, error: unknown): void {
  try {
    takeAllBack(context, all);
  } catch {
    throw interrupted(all, error);
  }
}

function interrupted(all: All, error: unknown): CoppiceError {
  const names = all.map(({ volume }) => volume.name).join(', ');
  const why = error instanceof Error ? error.message : String(error);
  return new CoppiceError(
    'io_error',
    `The rollback of ${names} was interrupted, and its application can't be started until it is complete: run "coppice pool check", which goes on with it (${why})`,
    { cause: error },
  );
}

type Staged = Member & { readonly staged: Held };

/** Makes of the new states what the application can be started from, and keeps it from that. Returns where the fences are. */
async function prepare(
  { context, whole, signal }: Work,
  staged: readonly Staged[],
): Promise<RollbackTogether['fences']> {
  const { driver } = context;
  const [lead] = staged as [Staged];
  const pathsOf = (of: (member: Staged) => Held): Record<string, string> =>
    Object.fromEntries(staged.map((member) => [member.was, driver.path(of(member))]));
  for (const { held, staged: entry } of staged) removeStale(context, held, entry);
  const copy = driver.path(lead.staged);
  const applications = whole.metadata.applications ?? [];
  await assemble(
    copy,
    applications,
    pathsOf((member) => member.staged),
    pathsOf((member) => member.held.held),
    signal,
  );
  const fences = directoriesOf(context, lead, applications).filter((directory) =>
    putUpFence(copy, directory),
  );
  if (fences.length === 0) {
    throw new CoppiceError(
      'unsupported',
      `No cluster of PostgreSQL is found in the snapshot of ${lead.volume}, so nothing would keep one from being started while only some of its volumes are back; declare it with "coppice set ${lead.volume} quiesce.postgres=DIRECTORY".`,
    );
  }
  // What is written to them later can be told from this by its transaction.
  driver.commit();
  return fences;
}

/** Where clusters are, by what was recorded and what is set. */
function directoriesOf(
  context: Context,
  { held }: Member,
  applications: readonly ApplicationState[],
): readonly string[] {
  const recorded = applications.flatMap(({ name, details: { directory } }) =>
    directory !== undefined && /^postgres(\.|$)/.test(name) ? [directory] : [],
  );
  const declared = postgresIn(trustedSettings(context, held)).map(({ directory }) => directory);
  return [...new Set([...recorded, ...declared])];
}

/** The lead's first: without it the others would mean nothing. */
function announceAll(
  { context, options, mark }: Work,
  staged: readonly Staged[],
  fences: RollbackTogether['fences'],
): All {
  const [lead] = staged as [Staged];
  const { place } = lead.staged;
  const [group, leadEntry, created] = [randomId(), place.area === 'staging' ? place.id : '', new Date()];
  const partners = staged.map(({ held, volume }) => ({ volumeId: held.metadata.id, volume }));
  return staged.map(({ held, snapshot, staged: entry }): Exchanged => {
    const volumes = partners.filter(({ volumeId }) => volumeId !== held.metadata.id);
    const together = { lead: lead.held.metadata.id, volumes, group, leadEntry, fences };
    const how = { snapshot, mark, force: options.force ?? false, created, together };
    const intent: RollbackIntent = announce(context, held, entry, how);
    return { volume: held, staged: entry, intent };
  }) as unknown as All;
}
