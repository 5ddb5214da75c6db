import type { Socket } from 'node:net';
import { monotonicMilliseconds } from '../linux/monotonic.ts';
import { checkTimeout, timeLimit } from '../linux/time-limit.ts';
import { connectSocket } from '../linux/unix-socket.ts';
import { CoppiceError } from '../model/errors.ts';
import { checkFreezeTarget, type FreezeTarget } from './freeze-target.ts';
import { QemuGuestAgent } from './qemu-guest-agent.ts';
import { startWatchdog, type ThawOutcome, type Watchdog } from './watchdog.ts';

export interface FreezeOptions {
  /** After which the guest is thawed, whatever happens; 10,000 when absent. */
  readonly timeoutMilliseconds?: number;
  readonly signal?: AbortSignal;
}

/** What is done while the guest is frozen. */
export interface FrozenWork<T> {
  /** @param until monotonic milliseconds: what is done later is not done in time, see `frozenUntil` of a snapshot */
  take(until: number): Promise<T>;
  /** Takes it back, where the guest turns out not to have been frozen until its end. */
  undo(taken: T): Promise<unknown>;
}

export interface Frozen<T> {
  readonly result: T;
  /** From before the first file system was frozen until after the last was thawed. */
  readonly frozenMilliseconds: number;
  readonly frozenFileSystems: number;
}

/** Milliseconds that an agent has to say that it has thawed everything. */
const thawPatience = 5_000;

/**
 * Freezes the file systems of a guest, does something, and thaws them, whatever happens, also to this process. The result is only
 * returned when all of them were frozen from the beginning of the work to its end.
 * @throws CoppiceError whose sentence says what has become of the guest: io_error when its agent doesn't answer, refuses, or has not
 * held still long enough; invalid_argument when the socket is not safe; not_found; permission_denied; cancelled; and what the work throws
 */
export async function freezeGuest<T>(
  target: FreezeTarget,
  options: FreezeOptions,
  work: FrozenWork<T>,
): Promise<Frozen<T>> {
  const { socket: path } = checkFreezeTarget(target);
  const timeout = checkTimeout(options.timeoutMilliseconds ?? 10_000);
  using greeting = timeLimit(
    timeout,
    `the guest agent gave no answer in ${timeout / 1000} s; is it running in the guest?`,
    options.signal,
  );
  // Not the limit's: when that is over, the guest is asked for its thaw, and who hangs up first may take that back.
  using conversation = timeLimit(3 * timeout + 60_000, 'the guest agent took too long.');
  const socket = await within(greeting.signal, connectSocket(path, conversation.signal), (late) =>
    late.destroy(),
  );
  using agent = new QemuGuestAgent(socket, path);
  await within(greeting.signal, agent.synchronize()).catch((error) => {
    throw explain('Nothing was frozen and no snapshot was taken', error);
  });
  const began = monotonicMilliseconds();
  using limit = timeLimit(timeout, `it took more than ${timeout / 1000} s.`, options.signal);
  const watchdog = await startWatchdog(socket, timeout);
  return await holdingStill(agent, { socket, watchdog, limit: limit.signal }, began + timeout, work);
}

interface Guard {
  readonly socket: Socket;
  readonly watchdog: Watchdog;
  readonly limit: AbortSignal;
}

async function holdingStill<T>(
  agent: QemuGuestAgent,
  { socket, watchdog, limit }: Guard,
  until: number,
  work: FrozenWork<T>,
): Promise<Frozen<T>> {
  const taken: T[] = [];
  try {
    const frozen = monotonicMilliseconds();
    const frozenFileSystems = await within(limit, agent.freeze());
    if (frozenFileSystems === 0)
      throw new CoppiceError('io_error', 'the guest agent has no file system to freeze.');
    // Whatever the work has done must be known when it fails later, so it is not cut short.
    taken.push(await work.take(until));
    if (!(await within(limit, agent.isFrozen())))
      throw new CoppiceError(
        'io_error',
        'the guest was thawed before the snapshot was complete; did somebody else thaw it?',
      );
    using last = timeLimit(thawPatience, 'the guest agent has not said that it has thawed.');
    const thawed = await within(last.signal, agent.thaw());
    const frozenMilliseconds = monotonicMilliseconds() - frozen;
    if (thawed < frozenFileSystems) {
      throw new CoppiceError(
        'io_error',
        `the guest agent froze ${frozenFileSystems} file systems and thawed only ${thawed}: somebody has thawed the others.`,
      );
    }
    watchdog.dismiss();
    return { result: taken[0] as T, frozenMilliseconds, frozenFileSystems };
  } catch (error) {
    // From here on only the watchdog talks to the agent.
    socket.destroy();
    const outcome = await watchdog.thaw(thawPatience);
    for (const each of taken) await work.undo(each);
    throw explain(whatBecame[outcome], error);
  }
}

const whatBecame: Readonly<Record<ThawOutcome, string>> = {
  thawed: 'No snapshot was taken, and the guest is thawed',
  unknown:
    'No snapshot was taken. The guest was told to thaw, but its agent has hung up: look whether it writes, else run "fsfreeze --unfreeze" in it',
  'still trying':
    'No snapshot was taken. The guest has not said yet that it is thawed: it is asked again for a minute; look then whether it writes',
};

/** The first of the two. What comes too late is cleared away. */
async function within<T>(signal: AbortSignal, promise: Promise<T>, clear?: (late: T) => void): Promise<T> {
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
  try {
    return await Promise.race([promise, aborted]);
  } catch (error) {
    promise.then(clear, () => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function explain(outcome: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const known = error instanceof CoppiceError ? error : undefined;
  const why = error.message.replace(/(?<![.?])$/, '.');
  return new CoppiceError(known?.code ?? 'io_error', `${outcome}: ${why}`, {
    ...(known && { blockers: known.blockers }),
    cause: error,
  });
}
