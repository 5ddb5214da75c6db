import { CoppiceError } from '../../model/errors.ts';
import { parseName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdSnapshot, holdVolume } from '../holding.ts';
import type { Doomed } from './prune.ts';
import { type ReadVolume, readVolumes } from './read.ts';
import { type Decisions, decide } from './rules/decide.ts';
import {
  type Decision,
  inOrder,
  type KnownSnapshot,
  keyOf,
  type PolicySnapshot,
  type Situation,
} from './rules/situation.ts';
import { runsOf } from './run.ts';
import type { Taking } from './take-due.ts';

/** What is being done to a pool. */
export interface Run {
  readonly context: Context;
  readonly isWanted: (volume: string) => boolean;
  readonly taking: Taking;
}

export interface Judged extends Decisions {
  /** What the decisions were made from, by `VOLUME@NAME`. */
  readonly known: ReadonlyMap<string, KnownSnapshot | undefined>;
  /** Whether a policy says how much space is to be free. */
  readonly wantsSpace: boolean;
}

/** What is in the pool now, and what is to happen to it. */
export function judgeNow(run: Run, space: Situation['space']): Judged {
  const { context } = run;
  const now = Date.now();
  const runs = runsOf(context);
  let volumes = readVolumes(context).map((volume) => asItStands(run, volume, now));
  for (;;) {
    const decided = decide({ volumes, now, runs, space });
    const known = knownIn(volumes);
    const found = dependents(context, decided, known);
    if (found.size === 0) {
      const wantsSpace = volumes.some(({ name, policy }) => policy?.minFree && run.isWanted(name));
      return { ...decided, known, wantsSpace };
    }
    volumes = volumes.map((volume) => ({
      ...volume,
      snapshots: volume.snapshots.map((each) =>
        withDependents(each, found.get(keyOf({ volume: volume.name, name: each.name }))),
      ),
    }));
  }
}

/** Those that go, each with what that was decided from. */
export function doomedAmong(decisions: readonly Decision[], known: Judged['known']): Doomed[] {
  return decisions.flatMap((decision) => {
    const about = known.get(keyOf(decision));
    return about && decision.goes ? [{ decision, known: about }] : [];
  });
}

function asItStands({ isWanted, taking }: Run, volume: ReadVolume, now: number): ReadVolume {
  if (!isWanted(volume.name)) return { ...volume, spared: 'its volume was not asked for' };
  const plans = taking.taken.filter((each) => each.volume === volume.name && each.id === undefined);
  const snapshots = [...volume.snapshots, ...plans.map(({ name }) => planned(name, volume, now))];
  const failure = taking.failed.find(({ reference }) => reference === volume.name);
  // Space comes back by what goes, so there what is over goes all the same.
  if (!failure || failure.error.code === 'no_space') return { ...volume, snapshots };
  return { ...volume, snapshots, spared: volume.spared ?? 'no new one could be taken' };
}

function planned(name: string, { snapshots }: ReadVolume, now: number): PolicySnapshot {
  const last = inOrder(snapshots).at(-1)?.generation ?? 0n;
  return {
    name,
    known: { id: '', reason: 'policy', created: now, generation: last + 1n, isPlanned: true },
  };
}

function knownIn(volumes: readonly ReadVolume[]): Judged['known'] {
  const all = volumes.flatMap(({ name: volume, snapshots }) =>
    snapshots.map(({ name, known }) => [keyOf({ volume, name }), known] as const),
  );
  return new Map(all);
}

/** What depends on those that may go, where the storage keeps them for that: to remove them would only hide them. */
function dependents(
  context: Context,
  { decisions, underPressure }: Decisions,
  known: Judged['known'],
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  if (!context.driver.neededBy) return found;
  for (const decision of [...decisions.filter(({ goes }) => goes), ...underPressure]) {
    const about = known.get(keyOf(decision));
    if (!about || about.neededBy) continue;
    const names = neededBy(context, decision);
    if (names.length > 0) found.set(keyOf(decision), names);
  }
  return found;
}

function neededBy(context: Context, decision: Pick<Decision, 'volume' | 'name'>): readonly string[] {
  try {
    using volume = holdVolume(context, parseName(decision.volume), 'shared');
    using snapshot = holdSnapshot(context, volume, parseName(decision.name), 'shared');
    return context.driver.neededBy?.(snapshot) ?? [];
  } catch (error) {
    // It has gone, or somebody has it: its removal says so.
    if (error instanceof CoppiceError && ['not_found', 'busy', 'damaged'].includes(error.code)) return [];
    throw error;
  }
}

function withDependents(snapshot: PolicySnapshot, names: readonly string[] | undefined): PolicySnapshot {
  return names && snapshot.known ? { ...snapshot, known: { ...snapshot.known, neededBy: names } } : snapshot;
}
