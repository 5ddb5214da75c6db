import { parentPort, workerData } from 'node:worker_threads';
import { inlineExecutor } from '../../engine/executor.ts';
import { openPoolRoot } from '../../engine/pools/open.ts';
import { Runner } from '../../engine/runner.ts';
import { runLikeOthers } from '../../linux/priority.ts';
import type { Change } from '../../model/changes.ts';
import { CoppiceError } from '../../model/errors.ts';
import { carried } from './carried-failure.ts';
import type { ComparisonMessage, ComparisonTask } from './comparison.ts';

/**
 * A thread that compares two states of trees, which may differ in hundreds of thousands of files: it keeps what it has found, and tells it in
 * small pieces, each when the one before was taken.
 */

/** How many changes are in a piece, and how many characters their paths may have together: a message of gRPC has 4 MiB at most. */
const most = 500;
const longest = 500_000;

/** Milliseconds to wait for a volume that another operation holds. */
const lockTimeout = 30_000;

const port = parentPort;
if (port) {
  runLikeOthers();
  let isStopped = false;
  let go = (): void => {};
  port.on('message', (word: 'more' | 'stop') => {
    if (word === 'stop') isStopped = true;
    go();
  });
  const tell = async (message: ComparisonMessage): Promise<void> => {
    if (isStopped) return;
    const taken = new Promise<void>((resolve) => {
      go = resolve;
    });
    port.postMessage(message);
    await taken;
  };
  compare(workerData as ComparisonTask, tell)
    .catch((error: unknown) => tell({ failure: carried(error) }))
    .finally(() => port.close());
}

async function compare(
  { path, id, from, to, isSummary }: ComparisonTask,
  tell: (message: ComparisonMessage) => Promise<void>,
): Promise<void> {
  using root = openPoolRoot(path);
  // Somebody may have unmounted it and mounted another.
  if (root.metadata.id !== id) throw new CoppiceError('not_a_pool', `${path} is another pool now.`);
  const handle = { path: root.path, root: root.fd, metadata: root.metadata };
  const runner = new Runner(inlineExecutor(handle, false), lockTimeout);
  try {
    const options = isSummary ? { limit: 0 } : {};
    const { changes, counts, bytes, method } = await runner.run('diff', [from, to, options]);
    await tell({ summary: { counts, ...(bytes && { bytes }), method } });
    for (const piece of piecesOf(changes)) await tell({ changes: piece });
    await tell('end');
  } finally {
    await runner.close();
  }
}

function* piecesOf(changes: readonly Change[]): Generator<Change[]> {
  let piece: Change[] = [];
  let length = 0;
  for (const change of changes) {
    piece.push(change);
    length += change.path.length + (change.from?.length ?? 0);
    if (piece.length < most && length < longest) continue;
    yield piece;
    piece = [];
    length = 0;
  }
  if (piece.length > 0) yield piece;
}
