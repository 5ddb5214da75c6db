import { Code } from '@connectrpc/connect';
import { CoppiceError } from '../../model/errors.ts';
import { refused } from '../failures.ts';

/** How many of one kind may wait. */
const mostWaiting = 1000;

interface Lane {
  free: number;
  readonly waiting: Array<() => void>;
}

/** Lets only so many jobs of one kind run at once: the others wait, in the order in which they came. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();

  /** @throws ConnectError RESOURCE_EXHAUSTED when too many wait already */
  requireRoom(name: string): void {
    if ((this.#lanes.get(name)?.waiting.length ?? 0) < mostWaiting) return;
    throw refused(
      Code.ResourceExhausted,
      'TOO_MANY_JOBS',
      `${mostWaiting} jobs of this kind wait already; ask again later.`,
    );
  }

  /** @throws CoppiceError cancelled when the signal fires before its turn has come */
  async run<T>(name: string, width: number, signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    using turn = await this.enter(name, width, signal);
    void turn;
    return await run();
  }

  /** The same for what is no function: its turn ends when it is disposed of. @throws CoppiceError cancelled */
  async enter(name: string, width: number, signal: AbortSignal): Promise<Disposable> {
    const lane = this.#lanes.get(name) ?? { free: width, waiting: [] };
    this.#lanes.set(name, lane);
    await takeTurn(lane, signal);
    return {
      [Symbol.dispose]() {
        const next = lane.waiting.shift();
        if (next) next();
        else lane.free++;
      },
    };
  }
}

function takeTurn(lane: Lane, signal: AbortSignal): Promise<void> {
  const cancelled = new CoppiceError('cancelled', 'It was cancelled before it began.');
  if (signal.aborted) return Promise.reject(cancelled);
  if (lane.free > 0) {
    lane.free--;
    return Promise.resolve();
  }
  return new Promise((resolve, reject) => {
    const begin = (): void => {
      signal.removeEventListener('abort', leave);
      resolve();
    };
    const leave = (): void => {
      lane.waiting.splice(lane.waiting.indexOf(begin), 1);
      reject(cancelled);
    };
    lane.waiting.push(begin);
    signal.addEventListener('abort', leave, { once: true });
  });
}
