import type { ErrorData } from '../../model/errors.ts';
import { type Settings, settingsOf } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import { isDue, readVolumes } from './read.ts';
import { numbersOf } from './rules/policy.ts';
import { newestOf } from './take-due.ts';

/** The policy of a volume, and how far it has come. */
export interface VolumePolicy {
  readonly volume: string;
  /** Its settings `policy.*`. */
  readonly settings: Settings;
  /** How often a snapshot is taken; absent where none is. */
  readonly schedule?: string;
  /** Its numbers in words: `24 hourly, 7 daily`; absent where there are none. */
  readonly keeps?: string;
  /** How many snapshots there are that it has made. */
  readonly snapshots: number;
  /** When the last of them was made: ISO 8601, UTC. */
  readonly newest?: string;
  /** Whether the next application of policies takes one. */
  readonly isDue: boolean;
  /** Why it can't be followed. */
  readonly problem?: ErrorData;
}

/** The policies that are declared in a pool, in the order of the names of the volumes. */
export function policies(context: Context): VolumePolicy[] {
  const now = Date.now();
  return readVolumes(context).flatMap((volume): VolumePolicy[] => {
    const { name, policy, problem } = volume;
    if (!policy && !problem) return [];
    const newest = newestOf(volume);
    const keeps = policy && numbersOf(policy);
    const declared = settingsOf(volume.settings, 'policy').map(
      ([key, value]) => [`policy.${key}`, value] as const,
    );
    return [
      {
        volume: name,
        settings: Object.fromEntries(declared),
        ...(policy?.schedule && { schedule: policy.schedule.text }),
        ...(keeps && { keeps }),
        snapshots: volume.snapshots.filter(({ known }) => known?.reason === 'policy').length,
        ...(newest && { newest: new Date(newest.created).toISOString() }),
        isDue: policy !== undefined && !volume.isTemplate && isDue(policy, newest, now),
        ...(problem && { problem: problem.toJSON() }),
      },
    ];
  });
}
