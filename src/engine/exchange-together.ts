import { isFenced, putUpFence, takeDownFence } from '../consistency/postgres/fence.ts';
import type { Held } from '../drivers/driver.ts';
import { blockedBy, CoppiceError } from '../model/errors.ts';
import type { RollbackIntent } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { RollbackTogether } from '../model/together.ts';
import type { Context } from './context.ts';
import {
  blockersAfter,
  findById,
  isReplaced,
  isTouched,
  keepAttempt,
  keepReplaced,
  takeBack,
} from './exchange.ts';
import type { HeldVolume } from './holding.ts';
import { abandon } from './publish.ts';

/**
 * Rollbacks of several volumes that one application lies in. No storage exchanges the data of several in one step, so the first of
 * them decides: the lead, which the application is started from, and whose new state has a fence that keeps it from being started. It is
 * exchanged first, and taken back last; whoever finds it exchanged finishes all, and whoever does not drops all. The fence is taken
 * down when all are exchanged and that is durable, so that at no moment the application can be started from a mix.
 */

/** A volume with its new state, which becomes the replaced one. */
export interface Exchanged {
  readonly volume: HeldVolume;
  readonly staged: Held;
  readonly intent: RollbackIntent;
}

/** The lead first. */
export type All = readonly [Exchanged, ...Exchanged[]];

/**
 * Exchanges all, one after the other. Where one fails, `takeAllBack` is for the caller.
 * @param lookAgain throws where somebody has come since, when nobody can be started any more
 */
export function exchangeAll(context: Context, [lead, ...others]: All, lookAgain: () => void): void {
  // What is to be done, and with what, must be known to whoever finds the first exchange.
  context.driver.commit();
  // Until they are switched, mounts show what is replaced: from that nothing must be started either, beside the new states of the others.
  for (const fence of fencesOf(lead.intent)) putUpFence(context.driver.path(lead.volume.held), fence);
  lookAgain();
  context.driver.commit();
  exchange(context, lead);
  context.driver.commit();
  for (const each of others) exchange(context, each);
}

/**
 * All are exchanged: has mounts follow, looks once more whether somebody has what is replaced open, lets the application be started,
 * and keeps what was replaced.
 * @returns the names under which it is kept, in the same order
 * @throws CoppiceError blocked when all went back
 */
export function completeTogether(context: Context, all: All): Array<Name | undefined> {
  const [lead, ...others] = all;
  if (hasFence(context, lead)) {
    for (const { volume, staged } of all) context.driver.switchMounts?.(staged, volume.held);
    const blockers = all.flatMap(({ volume, staged, intent }) =>
      blockersAfter(context, volume, staged, intent),
    );
    if (blockers.length > 0) {
      takeAllBack(context, all);
      throw blockedBy(`Could not roll back ${all.map(({ volume }) => volume.name).join(', ')}`, blockers);
    }
    context.driver.commit();
    takeDownFences(context, lead);
    context.driver.commit();
  }
  const kept = others.map((each) => keepReplaced(context, each.volume.held, each.staged, each.intent));
  for (const fence of fencesOf(lead.intent)) takeDownFence(context.driver.path(lead.staged), fence);
  // Last: as long as it is there, whoever comes knows what has become of the others.
  return [keepReplaced(context, lead.volume.held, lead.staged, lead.intent), ...kept];
}

/** Puts back what was replaced, the lead last, and clears away the new states. */
export function takeAllBack(context: Context, all: All): void {
  const [lead, ...others] = all;
  for (const each of others.toReversed()) back(context, each);
  context.driver.commit();
  back(context, lead);
  context.driver.commit();
  takeDownFences(context, lead);
  context.driver.commit();
  for (const each of all) drop(context, each);
}

/**
 * Finishes or drops, for a process that has died, what it was rolling back together.
 * @param known a volume of them that the caller holds
 * @returns whether it is settled; it is not where somebody is at work on one of them
 */
export function recoverTogether(
  context: Context,
  entry: Held,
  intent: RollbackIntent,
  known?: HeldVolume,
): boolean {
  using locks = new DisposableStack();
  const entries = entriesOf(context, entry, intent, locks);
  const held = entries?.map((each) => withVolume(context, each, known, locks));
  const all = held?.flatMap((each) => each ?? []);
  if (!all || all.length !== entries?.length) return false;
  const lead = all.find(({ staged, intent: { together } }) => idOf(staged) === together?.leadEntry);
  const others = all.filter((each) => each !== lead);
  if (!lead) {
    // It is cleared away first where all went back, so nothing of the others is in its place.
    for (const each of others) settleAlone(context, each);
  } else if (isReplaced(context, lead.staged, lead.intent)) {
    const isOver = !hasFence(context, lead);
    // What is not exchanged when the fence is down was never to be: somebody has gone on with what is there.
    if (isOver) for (const each of others) settleAlone(context, each);
    else for (const each of others) exchange(context, each);
    completeUnlessOpen(context, isOver ? [lead] : [lead, ...others]);
  } else takeAllBack(context, [lead, ...others]);
  return all.every(({ staged }) => !context.driver.exists(staged.place));
}

/** Whoever has what was replaced open has it still, in its place. */
function completeUnlessOpen(context: Context, all: All): void {
  try {
    completeTogether(context, all);
  } catch (error) {
    if (!(error instanceof CoppiceError && error.code === 'blocked')) throw error;
  }
}

/** What was replaced may be kept already, and the entry half cleared away. */
function exchange({ driver }: Context, { volume, staged, intent }: Exchanged): void {
  if (driver.payloadUuid(staged) === intent.stagedUuid) driver.exchange(volume.held, staged);
}

function back(context: Context, { volume, staged, intent }: Exchanged): void {
  if (isReplaced(context, staged, intent)) takeBack(context, volume.held, staged);
}

function drop(context: Context, { volume, staged, intent }: Exchanged): void {
  if (isReplaced(context, staged, intent)) return;
  if (isTouched(context, staged, intent)) keepAttempt(context, volume.held, staged, intent);
  else abandon(context, staged);
}

function settleAlone(context: Context, each: Exchanged): void {
  if (isReplaced(context, each.staged, each.intent))
    keepReplaced(context, each.volume.held, each.staged, each.intent);
  else drop(context, each);
}

function hasFence(context: Context, { volume, intent }: Exchanged): boolean {
  return fencesOf(intent).some((fence) => isFenced(context.driver.path(volume.held), fence));
}

function takeDownFences(context: Context, { volume, intent }: Exchanged): void {
  for (const fence of fencesOf(intent)) takeDownFence(context.driver.path(volume.held), fence);
}

function fencesOf({ together }: RollbackIntent): RollbackTogether['fences'] {
  return together?.fences ?? [];
}

/** All that are left of those that belong together; undefined where somebody is at work on one. */
function entriesOf(
  context: Context,
  entry: Held,
  { together }: RollbackIntent,
  locks: DisposableStack,
): Array<Pick<Exchanged, 'staged' | 'intent'>> | undefined {
  const found: Array<Pick<Exchanged, 'staged' | 'intent'>> = [];
  for (const id of context.driver.listEntries('staging')) {
    const place = { area: 'staging', id } as const;
    const intent = context.driver.peek(place);
    if (intent?.type !== 'rollback' || intent.together?.group !== together?.group) continue;
    const staged = id === idOf(entry) ? entry : context.driver.hold(place, 'exclusive', false);
    if (staged === 'busy') return undefined;
    if (staged === 'absent') continue;
    if (staged !== entry) locks.use(staged);
    found.push({ staged, intent });
  }
  return found;
}

function withVolume(
  context: Context,
  { staged, intent }: Pick<Exchanged, 'staged' | 'intent'>,
  known: HeldVolume | undefined,
  locks: DisposableStack,
): Exchanged | undefined {
  if (known?.metadata.id === intent.volumeId) return { volume: known, staged, intent };
  const volume = findById(context, intent);
  return volume && { volume: locks.use(volume), staged, intent };
}

function idOf({ place }: Held): string {
  return place.area === 'staging' ? place.id : '';
}
