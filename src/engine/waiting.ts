import { setTimeout as delay } from 'node:timers/promises';
import { CoppiceError } from '../model/errors.ts';
import type { Context } from './context.ts';
import type { Control } from './control.ts';

/**
 * Takes locks for a long operation. Where others would wait in the kernel, this tries again and again: a thread that waits there
 * hears no Ctrl-C, and the kernel tells nobody when a lock is free but those who wait.
 * @param what the operation, in a form that follows "the": `import of debian-12`
 * @throws CoppiceError cancelled
 */
export async function takingLocks<T>(
  context: Context,
  control: Control,
  what: string,
  take: (context: Context) => T,
): Promise<T> {
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    try {
      return take({ ...context, wait: false });
    } catch (error) {
      if (!(context.wait && error instanceof CoppiceError && error.code === 'busy')) throw error;
    }
    control.report({ step: 'waiting', fraction: 0 });
    await pauseUnlessCancelled(pause, control.signal, what);
  }
}

/** @param milliseconds how long; @throws CoppiceError cancelled */
export async function pauseUnlessCancelled(
  milliseconds: number,
  signal: AbortSignal | undefined,
  what: string,
): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch (cause) {
    throw new CoppiceError(
      'cancelled',
      `The ${what} was cancelled while it waited for another operation; nothing of it is left.`,
      { cause },
    );
  }
}
