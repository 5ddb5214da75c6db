import { CoppiceError } from '../model/errors.ts';

/**
 * A signal that fires when the time is over or somebody cancels, and says which as its reason.
 * @param milliseconds from now
 * @param sentence what took too long: the message of the error
 */
export function timeLimit(
  milliseconds: number,
  sentence: string,
  outer?: AbortSignal,
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new CoppiceError('io_error', sentence)), milliseconds);
  const cancel = (): void => controller.abort(new CoppiceError('cancelled', 'It was cancelled.'));
  outer?.addEventListener('abort', cancel, { once: true });
  if (outer?.aborted) cancel();
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer?.removeEventListener('abort', cancel);
    },
  };
}

/** @throws CoppiceError invalid_argument unless it is a time that can be waited for */
export function checkTimeout(milliseconds: number): number {
  if (milliseconds > 0 && milliseconds <= 24 * 3_600_000) return milliseconds;
  throw new CoppiceError(
    'invalid_argument',
    `${milliseconds / 1000} s is no time limit: it must be more than 0 s and at most a day.`,
  );
}
