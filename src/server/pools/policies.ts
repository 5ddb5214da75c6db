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

/** What the server does from time to time, with all of its pools. */
export interface Chores {
  readonly pools: ReadonlyMap<string, ServedPool>;
  readonly log: Log;
  /** Fires when the server stops. */
  readonly signal: AbortSignal;
}

/** Applies policies. A timer of systemd may do so, too: whoever comes second does nothing. */
export function applyingPolicies(chores: Chores, ticker: Ticker): AsyncDisposable {
  return repeating(chores, ticker, 'policies failed', applyTo);
}

/** Proves snapshots whose policy wants that: beside the other, because a proof may take hours. */
export function verifyingDue(chores: Chores, ticker: Ticker): AsyncDisposable {
  return repeating(chores, ticker, 'verification failed', verifyIn);
}

type Chore = (served: ServedPool, chores: Chores) => Promise<void>;

function repeating(chores: Chores, ticker: Ticker, failure: string, chore: Chore): AsyncDisposable {
  let underWay: Promise<void> = Promise.resolve();
  const ticking = ticker(() => {
    underWay = inAll(chores, failure, chore);
    return underWay;
  });
  return {
    async [Symbol.asyncDispose]() {
      ticking[Symbol.dispose]();
      await underWay;
    },
  };
}

async function inAll(chores: Chores, failure: string, chore: Chore): Promise<void> {
  const { pools, log, signal } = chores;
  for (const served of pools.values()) {
    if (signal.aborted || !served.isAvailable) continue;
    try {
      await chore(served, chores);
    } catch (error) {
      if (error instanceof CoppiceError && error.code === 'cancelled') continue;
      log.error(failure, { pool: served.id, reason: String(error) });
    }
  }
}

async function applyTo(served: ServedPool, { log, signal }: Chores): Promise<void> {
  const { taken, removed, failed, putOff, warnings } = await served.pool.applyPolicies({
    decisions: false,
    signal,
  });
  const references = [...taken, ...removed].map(({ reference }) => reference);
  const along = taken.flatMap((each) => each.with ?? []);
  await served.alsoChanged([...references, ...along]);
  if (references.length > 0)
    log.info('policies applied', { pool: served.id, taken: taken.length, removed: removed.length });
  for (const { reference, error } of failed)
    log.error('policy failed', { pool: served.id, reference, code: error.code, reason: error.message });
  for (const { reference, message } of putOff)
    log.info('policy put off', { pool: served.id, reference, reason: message });
  for (const reason of warnings) log.warn('policy warning', { pool: served.id, reason });
}

async function verifyIn(served: ServedPool, { log, signal }: Chores): Promise<void> {
  const { due, verified, failed } = await served.pool.verifyDue({ signal });
  await served.alsoChanged(due);
  for (const { reference, result, checks } of verified) {
    const bad = checks.filter((check) => check.result === 'failed').map(({ name }) => name);
    if (result === 'passed') log.info('snapshot verified', { pool: served.id, reference });
    else log.error('snapshot can not be relied on', { pool: served.id, reference, failed: bad.join(', ') });
  }
  for (const { reference, error } of failed)
    log.error('verification failed', { pool: served.id, reference, code: error.code, reason: error.message });
}
