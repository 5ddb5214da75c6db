import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { TreeDiff } from '../../engine/operations/diff.ts';
import type { Change } from '../../model/changes.ts';
import { type CarriedFailure, revived } from './carried-failure.ts';

export interface ComparisonTask {
  /** Of the pool. */
  readonly path: string;
  readonly id: string;
  /** As in `pool.diff`. */
  readonly from: string;
  readonly to: string | null;
  /** Only that is wanted. */
  readonly isSummary: boolean;
}

/** First the summary, then changes in the order of their paths. */
export type ComparisonPiece =
  | { readonly summary: Pick<TreeDiff, 'counts' | 'bytes' | 'method'> }
  | { readonly changes: readonly Change[] };

export type ComparisonMessage = ComparisonPiece | { readonly failure: CarriedFailure } | 'end';

/**
 * Compares two states of directory trees in a thread of its own, which holds all that is different: here is never more than a piece. Its end
 * is awaited, also when nobody wants the rest any more: only the thread itself can clear what it has made to compare.
 * @throws what `pool.diff` throws, and AbortError when the signal fires
 */
export async function* comparison(
  task: ComparisonTask,
  signal: AbortSignal,
): AsyncGenerator<ComparisonPiece, void, void> {
  signal.throwIfAborted();
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const thread = new Worker(new URL(`./comparison-worker.${extension}`, import.meta.url), {
    workerData: task,
    trackUnmanagedFds: false,
  });
  const exited = new Promise<'exited'>((resolve) => thread.once('exit', () => resolve('exited')));
  // Whoever waits for a message hears of it, and then nobody else need.
  thread.on('error', () => {});
  try {
    for (;;) {
      const told = await Promise.race([once(thread, 'message', { signal }), exited]);
      if (told === 'exited') throw new Error('The thread that compares has ended.');
      const [message] = told as [ComparisonMessage];
      if (message === 'end') return;
      if ('failure' in message) throw revived(message.failure);
      yield message;
      thread.postMessage('more');
    }
  } finally {
    thread.postMessage('stop');
    await exited;
  }
}
