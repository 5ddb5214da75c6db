import type { SnapshotRecord } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import { noSuchVolume } from '../holding.ts';
import { contentsOf } from '../visible.ts';
import { type Policy, policyIn } from './rules/policy.ts';
import { compare, type KnownSnapshot, type PolicySnapshot, type PolicyVolume } from './rules/situation.ts';

export interface ReadVolume extends PolicyVolume {
  readonly settings: Settings;
  readonly isTemplate: boolean;
  /** Why its policy can't be followed: then nothing of it is taken or goes. */
  readonly problem?: CoppiceError;
}

/** All volumes of a pool with what policies go by, in the order of their names. */
export function readVolumes(context: Context): ReadVolume[] {
  const contents = contentsOf(context);
  const groups = groupsAmong(contents.flatMap(({ snapshots }) => snapshots));
  return contents
    .flatMap(({ volume, snapshots }): ReadVolume[] => {
      const { name, metadata } = volume;
      if (metadata?.type !== 'volume') return [];
      const settings = metadata.settings ?? {};
      return [
        {
          name,
          settings,
          isTemplate: metadata.sealed !== undefined,
          ...followed(settings),
          snapshots: snapshots.map((record) => known(record, groups)),
        },
      ];
    })
    .sort((a, b) => compare(a.name, b.name));
}

/** Which volumes are meant: those that are named, or all. @throws CoppiceError not_found */
export function selection(
  context: Context,
  wanted: readonly string[] | undefined,
): (volume: string) => boolean {
  if (wanted === undefined) return () => true;
  const names: ReadonlySet<string> = new Set(wanted.map(parseVolumeName));
  const present = new Set(readVolumes(context).map(({ name }) => name));
  for (const name of wanted) if (!present.has(name)) throw noSuchVolume(context, parseVolumeName(name));
  return (volume) => names.has(volume);
}

function followed(settings: Settings): Pick<ReadVolume, 'policy' | 'problem' | 'spared'> {
  try {
    return { policy: policyIn(settings) };
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    return { policy: undefined, problem: error, spared: 'its policy is not understood' };
  }
}

interface Groups {
  readonly sizes: ReadonlyMap<string, number>;
  /** Those of which the snapshot is there that the others are parts of. */
  readonly led: ReadonlySet<string>;
}

function groupsAmong(snapshots: readonly SnapshotRecord[]): Groups {
  const [sizes, led] = [new Map<string, number>(), new Set<string>()];
  for (const { metadata } of snapshots) {
    if (metadata?.type !== 'snapshot' || metadata.group === undefined) continue;
    const { group, together, volumeId } = metadata;
    sizes.set(group, (sizes.get(group) ?? 0) + 1);
    if (together?.lead === volumeId) led.add(group);
  }
  return { sizes, led };
}

function known({ name, metadata }: SnapshotRecord, { sizes, led }: Groups): PolicySnapshot {
  if (metadata?.type !== 'snapshot') return { name, known: undefined };
  const { id, reason, created, generation, hold, expires, verified, group, together, volumeId } = metadata;
  const isPart = together !== undefined && together.lead !== volumeId && led.has(group ?? '');
  const about: KnownSnapshot = {
    id,
    reason,
    created: Date.parse(created),
    generation: /^\d{1,20}$/.test(generation) ? BigInt(generation) : 0n,
    ...(hold && { hold }),
    ...(expires !== undefined && { expires: Date.parse(expires) }),
    ...(verified && { verified }),
    // The last of a group has nobody to go together with.
    ...(group !== undefined && (sizes.get(group) ?? 0) > 1 && { group }),
    ...(isPart && { isPart }),
  };
  return { name, known: about };
}

/** Whether a snapshot is to be taken: none of this slot is there. Told by the one that was made last, whatever clock that had. */
export function isDue({ schedule }: Policy, newest: KnownSnapshot | undefined, now: number): boolean {
  if (!schedule) return false;
  return newest === undefined || schedule.slotAt(newest.created) !== schedule.slotAt(now);
}
