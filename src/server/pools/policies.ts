import { CoppiceError } from '../../model/errors.ts';
import type { Log } from '../log.ts';
import type { ServedPool } from './served-pool.ts';

/** Milliseconds between two times at which policies are applied, and from the start to the first. */
const applyEvery = 5 * 60 * 1000;
const afterStart = 60 * 1000;

/** Calls something from time to time until it is disposed of: given in, so that a test can say when. */
export type Ticker = (run: () => Promise<void>) => Disposable;

/** The next time begins only after the last has ended. */
export const usualTicker: Ticker = (run) => {
  let timer: NodeJS.Timeout;
  let isOver = false;
  const begin = (milliseconds: number): void => {
    timer = setTimeout(() => {
      void run().finally(() => {
        if (!isOver) begin(applyEvery);
      });
    }, milliseconds);
    timer.unref();
  };
  begin(afterStart);
  return {
    [Symbol.dispose]() {
      isOver = true;
      clearTimeout(timer);
    },
  };
};

/**
 * Applies the policies of all pools that the server has, from time to time. A timer of systemd may do so, too: whoever comes second does
 * nothing.
 */
export function applyingPolicies(
  pools: ReadonlyMap<string, ServedPool>,
  log: Log,
  signal: AbortSignal,
  ticker: Ticker,
): AsyncDisposable {
  let underWay: Promise<void> = Promise.resolve();
  const ticking = ticker(() => {
    underWay = applyToAll(pools, log, signal);
    return underWay;
  });
  return {
    async [Symbol.asyncDispose]() {
      ticking[Symbol.dispose]();
      await underWay;
    },
  };
}

async function applyToAll(
  pools: ReadonlyMap<string, ServedPool>,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const served of pools.values()) {
    if (signal.aborted || !served.isAvailable) continue;
    try {
      await applyTo(served, log, signal);
    } catch (error) {
      if (error instanceof CoppiceError && error.code === 'cancelled') continue;
      log.error('policies failed', { pool: served.id, reason: String(error) });
    }
  }
}

async function applyTo(served: ServedPool, log: Log, signal: AbortSignal): Promise<void> {
  const { taken, removed, failed, putOff, warnings } = await served.pool.applyPolicies({
    decisions: false,
    signal,
  });
  const references = [...taken, ...removed].map(({ reference }) => reference);
  const volumes = [...new Set(references.map((reference) => reference.split('@', 1)[0] ?? ''))];
  // What is known of these is looked at again.
  await served.change(volumes, async () => {});
  if (references.length > 0)
    log.info('policies applied', { pool: served.id, taken: taken.length, removed: removed.length });
  for (const { reference, error } of failed)
    log.error('policy failed', { pool: served.id, reference, code: error.code, reason: error.message });
  for (const { reference, message } of putOff)
    log.info('policy put off', { pool: served.id, reference, reason: message });
  for (const reason of warnings) log.warn('policy warning', { pool: served.id, reason });
}
