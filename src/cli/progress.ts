import type { OperationProgress } from '../engine/control.ts';
import type { CliContext } from './context.ts';

export interface ProgressLine extends Disposable {
  readonly onProgress: (progress: OperationProgress) => void;
  readonly signal: AbortSignal;
}

/**
 * Shows how far a long operation is, on a terminal only, and turns Ctrl-C into a cancellation that cleans up. A second Ctrl-C
 * ends the process at once; the next command on the pool then cleans up.
 * @param listen `from the first progress`: until then little or nothing has been done, and Ctrl-C ends the process, as it must
 * where that waits for a lock in the kernel
 */
export function showProgress(
  context: CliContext,
  what: string,
  listen: 'at once' | 'from the first progress' = 'at once',
): ProgressLine {
  const { stderr } = context.process;
  const controller = new AbortController();
  const cancel = (): void => controller.abort();
  let listening = false;
  const startListening = (): void => {
    if (listening) return;
    listening = true;
    context.process.once('SIGINT', cancel);
    context.process.once('SIGTERM', cancel);
  };
  if (listen === 'at once') startListening();
  let shown = '';
  const draw = (line: string): void => {
    if (!stderr.isTTY || line === shown) return;
    shown = line;
    stderr.write(`\r\x1b[K${line}`);
  };
  return {
    signal: controller.signal,
    onProgress: ({ step, fraction }) => {
      startListening();
      const width = 30;
      const done = Math.round(fraction * width);
      draw(
        `${what}: ${step} [${'#'.repeat(done)}${' '.repeat(width - done)}] ${Math.floor(fraction * 100)}%`,
      );
    },
    [Symbol.dispose]() {
      draw('');
      context.process.removeListener('SIGINT', cancel);
      context.process.removeListener('SIGTERM', cancel);
    },
  };
}
