import { setImmediate as turn } from 'node:timers/promises';
import { CoppiceError, type ErrorData } from '../../model/errors.ts';
import type { Context } from '../context.ts';
import { type Control, progressOf } from '../control.ts';
import { explainFailure } from '../failures.ts';
import { timestampName } from '../publish.ts';
import type { Snapshotted } from '../taking.ts';
import { isDue, type ReadVolume, readVolumes } from './read.ts';
import { inOrder, type Ordered } from './rules/situation.ts';
import { takeForPolicy } from './take.ts';

/** What was taken; of what would be there is no more than a name. */
export type TakenByPolicy = Pick<Snapshotted, 'reference' | 'volume' | 'name'> & Partial<Snapshotted>;

export interface Failed {
  /** A volume that no snapshot could be taken of, or a snapshot that could not be removed. */
  readonly reference: string;
  readonly error: ErrorData;
}

export interface Taking {
  readonly taken: readonly TakenByPolicy[];
  readonly failed: readonly Failed[];
}

/** Takes a snapshot of each volume whose policy wants one now. What fails is told, and stops no other. */
export async function takeDue(
  context: Context,
  isWanted: (volume: string) => boolean,
  dryRun: boolean,
  control: Control,
): Promise<Taking> {
  const taken: TakenByPolicy[] = [];
  const failed: Failed[] = [];
  const volumes = readVolumes(context).filter(({ name }) => isWanted(name));
  for (const [index, volume] of volumes.entries()) {
    const { name, policy, problem } = volume;
    if (problem) failed.push({ reference: name, error: problem.toJSON() });
    const now = Date.now();
    if (!policy || volume.isTemplate || !isDue(policy, newestOf(volume), now)) continue;
    if (control.signal?.aborted) break;
    control.report(progressOf('applying policies', index, volumes.length));
    const planned = timestampName('auto', new Date(now));
    if (dryRun) taken.push({ reference: `${name}@${planned}`, volume: name, name: planned });
    else {
      // In a row of calls to the kernel, nothing else would hear of the signal.
      await turn();
      const result = await tryToTake(context, name, control);
      if (result && 'error' in result) failed.push({ reference: name, error: result.error });
      else if (result) taken.push(result);
    }
  }
  return { taken, failed };
}

/** The snapshot that its policy has made last, by the storage's own order. */
export function newestOf({ snapshots }: Pick<ReadVolume, 'snapshots'>): Ordered | undefined {
  return inOrder(snapshots).findLast(({ reason, isPart }) => reason === 'policy' && !isPart);
}

/** Undefined: there is nothing to take it of any more, or no time for it. */
async function tryToTake(
  context: Context,
  name: string,
  control: Control,
): Promise<Snapshotted | { readonly error: ErrorData } | undefined> {
  try {
    return await takeForPolicy(context, name, control);
  } catch (error) {
    const explained = explainFailure(`snapshot ${name}`, error);
    if (!(explained instanceof CoppiceError)) throw explained;
    return ['not_found', 'cancelled'].includes(explained.code) ? undefined : { error: explained.toJSON() };
  }
}
