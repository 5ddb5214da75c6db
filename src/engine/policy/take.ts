import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { snapshot } from '../operations/snapshot.ts';
import { snapshotAtRest } from '../operations/snapshot-at-rest.ts';
import type { Snapshotted } from '../taking.ts';
import { patiently } from './patiently.ts';

/**
 * Takes the snapshot that a policy wants, as consistent as the settings of its volume say, and none that is weaker.
 * @throws CoppiceError
 */
export async function takeForPolicy(
  context: Context,
  volume: string,
  control: Control,
): Promise<Snapshotted> {
  const options = { reason: 'policy' } as const;
  const began = performance.now();
  try {
    const taken = await patiently(control, async () => {
      // Most need nobody to be brought to rest.
      const atOnce = snapshot(context, volume, options);
      return atOnce ?? (await snapshotAtRest(context, [volume], options, control)).snapshots[0];
    });
    context.audit?.append('snapshot', [volume, options], began, undefined);
    return taken as Snapshotted;
  } catch (error) {
    context.audit?.append('snapshot', [volume, options], began, error);
    throw error;
  }
}
