import type { OperationProgress } from '../engine/control.ts';
import { printable } from '../model/printable.ts';
import type { CliContext } from './context.ts';
import { type Beginning, progressText } from './progress-text.ts';
import { lineWidth } from './terminal.ts';

/** Milliseconds between two drawings: a terminal that is slow, or far away, shall not hold up the work. */
const pause = 50;

/** Of a terminal that does not know its own. */
const usualWidth = 80;

export interface ProgressLine extends Disposable {
  readonly onProgress: (progress: OperationProgress) => void;
  readonly signal: AbortSignal;
}

/**
 * Shows how far a long operation is, on a terminal only, and turns Ctrl-C into a cancellation that cleans up. A second Ctrl-C
 * ends the process at once; the next command on the pool then cleans up.
 * @param listen `from the first progress`: until then little or nothing has been done, and Ctrl-C ends the process, as it must
 * where that waits for a lock in the kernel. `never`: it can't be cancelled halfway, so Ctrl-C always ends the process
 */
export function showProgress(
  context: CliContext,
  what: string,
  listen: 'at once' | 'from the first progress' | 'never' = 'at once',
): ProgressLine {
  const { stderr } = context.process;
  const controller = new AbortController();
  const cancel = (): void => controller.abort();
  let listening = false;
  const startListening = (): void => {
    if (listening || listen === 'never') return;
    listening = true;
    context.process.once('SIGINT', cancel);
    context.process.once('SIGTERM', cancel);
  };
  if (listen === 'at once') startListening();
  let since: Beginning | undefined;
  let drawn = 0;
  const draw = (progress: OperationProgress): void => {
    if (!stderr.isTTY) return;
    const width = lineWidth(stderr, context.process) ?? usualWidth;
    const now = performance.now();
    const isNewStep = progress.step !== since?.step;
    if (isNewStep || !since) since = { ...progress, at: now };
    if (!isNewStep && now - drawn < pause) return;
    drawn = now;
    stderr.write(`\r\x1b[K${printable(progressText(what, progress, since, { now, width }))}`);
  };
  return {
    signal: controller.signal,
    onProgress: (progress) => {
      startListening();
      draw(progress);
    },
    [Symbol.dispose]() {
      if (since) stderr.write('\r\x1b[K');
      context.process.removeListener('SIGINT', cancel);
      context.process.removeListener('SIGTERM', cancel);
    },
  };
}
