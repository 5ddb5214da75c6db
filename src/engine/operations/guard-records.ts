import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { GuardRecord } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdVolume, requireUnsealed } from '../holding.ts';
import { isAlive } from '../keeper.ts';
import { leadsOf, partBlockers } from '../parts.ts';
import { timestampName } from '../publish.ts';

/** A guard as others see it. */
export interface GuardState extends GuardRecord {
  /** Whether the process that keeps it is still there. */
  readonly isAlive: boolean;
  /** Whether its snapshot was taken; without it nothing has been changed. */
  readonly isBegun: boolean;
}

/**
 * Writes down that a change to a volume is about to be tried, before its snapshot is taken: whoever comes after a crash finds it. One
 * guard may be begun within another, by who was started by that; several beside each other may not: to undo one would undo the others.
 * @param within the id of the guard that it is begun in, if any
 * @throws CoppiceError blocked
 */
export function beginGuard(
  context: Context,
  nameText: string,
  guard: Pick<GuardRecord, 'id' | 'keeper'>,
  within?: string,
): GuardRecord {
  const name = parseVolumeName(nameText);
  using volume = holdVolume(context, name, 'exclusive');
  requireUnsealed(volume, `guard ${name}`);
  const leads = leadsOf(context, volume);
  if (leads.length > 0) throw blockedBy(`Could not guard ${name}`, partBlockers(name, leads));
  const guards = volume.metadata.guards ?? [];
  const present = guards.at(-1);
  if (present && present.id !== within) throw blocked(context, volume, present);
  if (!present && within !== undefined)
    throw new CoppiceError('not_found', `The guard of ${name} that this one was begun in is over.`);
  const now = new Date();
  const record: GuardRecord = {
    ...guard,
    snapshot: freeName(context, volume, timestampName('guard', now)),
    since: now.toISOString(),
  };
  write(context, volume, [...guards, record]);
  return record;
}

/** Takes away the record of a guard, and those of any that were begun in it and never ended. */
export function endGuard(context: Context, nameText: string, id: string): { readonly ended: boolean } {
  using volume = holdVolume(context, parseVolumeName(nameText), 'exclusive');
  const guards = volume.metadata.guards ?? [];
  const at = guards.findIndex((guard) => guard.id === id);
  if (at >= 0) write(context, volume, guards.slice(0, at));
  return { ended: at >= 0 };
}

/** Writes down that a change has failed. Says whether it could: where its record is gone, somebody has accepted it, and it is his by now. */
export function failGuard(context: Context, nameText: string, id: string): { readonly isThere: boolean } {
  using volume = holdVolume(context, parseVolumeName(nameText), 'exclusive');
  const guards = volume.metadata.guards ?? [];
  if (!guards.some((guard) => guard.id === id)) return { isThere: false };
  write(
    context,
    volume,
    guards.map((guard) => (guard.id === id ? { ...guard, failed: true } : guard)),
  );
  return { isThere: true };
}

/** @throws CoppiceError blocked while a change to a volume is tried, which would not find it, or what it has changed, any more */
export function requireUnguarded({ name, metadata }: HeldVolume, action: string): void {
  if (!metadata.guards) return;
  throw blockedBy(`Could not ${action}`, [
    {
      kind: 'guard',
      what: `a change to ${name} is being tried, or was and is neither undone nor accepted`,
      remedy: `wait until it has ended, or see to it: "coppice guard ${name} --status" says what there is`,
    },
  ]);
}

/** The changes to a volume that are being tried, or were when whoever tried them died; the outermost first. */
export function guards(context: Context, nameText: string): GuardState[] {
  using volume = holdVolume(context, parseVolumeName(nameText), 'shared');
  return guardsOf(context, volume);
}

/** The same of one that is held. */
export function guardsOf(context: Context, volume: HeldVolume): GuardState[] {
  return (volume.metadata.guards ?? []).map((guard) => ({
    ...guard,
    isAlive: isAlive(guard.keeper),
    isBegun: hasSnapshot(context, volume, guard.snapshot),
  }));
}

function hasSnapshot(context: Context, volume: HeldVolume, name: string): boolean {
  return context.driver
    .listSnapshots(volume.name)
    .some((record) => record.name === name && record.metadata?.type === 'snapshot');
}

function freeName(context: Context, volume: HeldVolume, wanted: string): string {
  const taken = new Set(context.driver.listSnapshots(volume.name).map((record) => record.name));
  let name = wanted;
  for (let number = 2; taken.has(name); number++) name = `${wanted}-${number}`;
  return name;
}

function write(context: Context, { held, metadata }: HeldVolume, guards: readonly GuardRecord[]): void {
  const { guards: _, ...rest } = metadata;
  context.driver.write(held, guards.length > 0 ? { ...rest, guards } : rest);
}

function blocked(
  context: Context,
  volume: HeldVolume,
  { keeper, since, snapshot, failed }: GuardRecord,
): CoppiceError {
  const { name } = volume;
  if (isAlive(keeper) && !failed) {
    return blockedBy(`Could not guard ${name}`, [
      {
        kind: 'guard',
        what: `a change to ${name} has been tried since ${since} by process ${keeper.pid}`,
        remedy: 'wait until it has ended',
      },
    ]);
  }
  const begun = hasSnapshot(context, volume, snapshot);
  return blockedBy(`Could not guard ${name}`, [
    {
      kind: 'guard',
      what: `a change to ${name} was begun at ${since}, and ${failed ? 'has failed and is not undone yet' : `who tried it was killed${begun ? '' : ' before it could do anything'}`}`,
      remedy: `undo it with "coppice guard ${name} --recover", or leave it with "coppice guard ${name} --accept"`,
    },
  ]);
}
