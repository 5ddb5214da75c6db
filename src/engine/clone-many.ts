import { setImmediate as turn } from 'node:timers/promises';
import { CoppiceError } from '../model/errors.ts';
import { progressOf } from './control.ts';
import type { Cloned } from './operations/clone.ts';
import type { LongOptions } from './runner.ts';

export interface ManyCloned {
  readonly cloned: readonly Cloned[];
  readonly failed: ReadonlyArray<{ readonly name: string; readonly error: CoppiceError }>;
  /** The signal fired before all were made; those in `cloned` stay. */
  readonly cancelled?: true;
}

/** So many are under way at a time. */
const lanes = 8;

/** @param cloneOne makes the clone of that name @throws CoppiceError invalid_argument */
export async function cloneMany(
  cloneOne: (name: string) => Promise<Cloned>,
  name: string,
  count: number,
  { signal, onProgress }: { readonly [K in keyof LongOptions]: LongOptions[K] | undefined },
): Promise<ManyCloned> {
  if (!Number.isInteger(count) || count < 1 || count > 100_000) {
    throw new CoppiceError('invalid_argument', `${count} is not a valid count: clone 1 to 100,000 at once.`);
  }
  const cloned: Cloned[] = [];
  const failed: Array<{ name: string; error: CoppiceError }> = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count && !signal?.aborted) {
      const each = `${name}-${++next}`;
      try {
        cloned.push(await cloneOne(each));
      } catch (error) {
        if (!(error instanceof CoppiceError)) throw error;
        failed.push({ name: each, error });
      }
      onProgress?.(progressOf('cloning', cloned.length + failed.length, count));
      // Where operations run in this thread, nothing else would let it hear of the signal.
      if (signal) await turn();
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, lanes) }, lane));
  return { cloned, failed, ...(next < count && { cancelled: true }) };
}
