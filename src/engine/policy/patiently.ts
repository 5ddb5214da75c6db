import { monotonicMilliseconds } from '../../linux/monotonic.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Control } from '../control.ts';
import { pauseUnlessCancelled } from '../waiting.ts';

/** Milliseconds: who holds a volume longer is left to the next time. */
const patience = 10_000;

/** Tries again for a while where another operation has what is needed. @throws CoppiceError busy, cancelled */
export async function patiently<T>(control: Control, step: () => T | Promise<T>): Promise<T> {
  const late = monotonicMilliseconds() + patience;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    try {
      return await step();
    } catch (error) {
      const isBusy = error instanceof CoppiceError && error.code === 'busy';
      if (!isBusy || monotonicMilliseconds() > late) throw error;
    }
    await pauseUnlessCancelled(pause, control.signal, 'policy');
  }
}
