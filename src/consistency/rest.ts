import { monotonicMilliseconds } from '../linux/monotonic.ts';
import { timeLimit } from '../linux/time-limit.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState } from '../model/metadata.ts';
import type { Copy, Quiescer, Scope, StepLimits } from './quiescer.ts';

/** An application with what it is asked to hold still for. */
export interface Member {
  readonly quiescer: Quiescer;
  readonly scope: Scope;
}

interface Prepared extends Member {
  readonly amends: boolean;
}

/** A step that ignores its signal is left behind after so many milliseconds more. */
const grace = 2_000;

/**
 * Several applications that are brought to rest together: held in the order in which they are given, released in the opposite one.
 * Its disposal releases what is still held and lets go of all, and tells of no failure: `release` does.
 */
export class Rest implements AsyncDisposable {
  readonly #members: readonly Prepared[];
  readonly #signal: AbortSignal | undefined;
  /** Those for whom `hold` was begun and `release` not, the last first. */
  #held: Prepared[] = [];
  #since = 0;
  /** Milliseconds for which the first was held. */
  heldMilliseconds = 0;

  private constructor(members: readonly Prepared[], signal: AbortSignal | undefined) {
    this.#members = members;
    this.#signal = signal;
  }

  /** @throws CoppiceError of the first that can't be brought to rest; nothing is held then */
  static async prepare(members: readonly Member[], signal: AbortSignal | undefined): Promise<Rest> {
    const prepared: Prepared[] = [];
    try {
      for (const member of members) {
        const { quiescer, scope } = member;
        const { amends = false } = await step(quiescer, 'prepare', signal, (limit) =>
          quiescer.prepare(scope, limit),
        );
        if (amends && !scope.canAmend) {
          throw new CoppiceError(
            'unsupported',
            `${quiescer.name} would have to add to the snapshot what lies elsewhere, and a snapshot on this storage can't be added to; keep all of it in one pool.`,
          );
        }
        prepared.push({ ...member, amends });
      }
      return new Rest(prepared, signal);
    } catch (error) {
      await disposeAll(members);
      throw error;
    }
  }

  /** Whether something will be written into the copy of a volume. */
  amends(volume: string): boolean {
    return this.#members.some(({ amends, scope }) => amends && scope.subject.volume === volume);
  }

  /** Monotonic milliseconds until which all are held, once they are. What is taken later may not be what it claims. */
  get until(): number {
    const limits = this.#members.map(({ quiescer }) => quiescer.limits.hold);
    return this.#since + Math.min(...limits);
  }

  async hold(): Promise<void> {
    this.#since = monotonicMilliseconds();
    for (const member of this.#members) {
      this.#held.unshift(member);
      await step(member.quiescer, 'hold', this.#signal, (limit) => member.quiescer.hold(limit));
    }
  }

  /** All of them, also after one has failed. @throws CoppiceError of the first that did not hold still, or can't be let go */
  async release(): Promise<void> {
    const failures: unknown[] = [];
    for (let member = this.#held.shift(); member; member = this.#held.shift()) {
      const { quiescer } = member;
      // Not the caller's signal: who cancels wants it released, too.
      await step(quiescer, 'release', undefined, (limit) => quiescer.release(limit)).catch((error) =>
        failures.push(error),
      );
    }
    this.heldMilliseconds = monotonicMilliseconds() - this.#since;
    if (failures.length > 0) throw failures[0];
  }

  /** @param copyOf the copy of a volume */
  async finish(
    copyOf: (volume: string) => Copy,
  ): Promise<ReadonlyArray<ApplicationState & { readonly volume: string }>> {
    const states: Array<ApplicationState & { readonly volume: string }> = [];
    for (const { quiescer, scope } of this.#members) {
      const { volume } = scope.subject;
      const state = await step(quiescer, 'finish', this.#signal, (limit) =>
        quiescer.finish(copyOf(volume), limit),
      );
      states.push({ ...state, volume });
    }
    return states;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => undefined);
    await disposeAll(this.#members);
  }
}

async function disposeAll(members: readonly Member[]): Promise<void> {
  await Promise.allSettled(members.map(({ quiescer }) => quiescer[Symbol.asyncDispose]()));
}

const doing: Readonly<Record<keyof StepLimits, string>> = {
  prepare: 'getting ready',
  hold: 'coming to rest',
  release: 'going on again',
  finish: 'completing the snapshot',
};

/** One step within its time. Its failure says which application it was. */
async function step<T>(
  quiescer: Quiescer,
  name: keyof StepLimits,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const milliseconds = quiescer.limits[name];
  const late = `${quiescer.name}: ${doing[name]} took more than ${milliseconds / 1000} s.`;
  using limit = timeLimit(milliseconds, late, outer);
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    const giveUp = (): void => {
      timer = setTimeout(() => reject(limit.signal.reason), grace);
    };
    if (limit.signal.aborted) giveUp();
    else limit.signal.addEventListener('abort', giveUp, { once: true });
  });
  try {
    return await Promise.race([run(limit.signal), stuck]);
  } catch (error) {
    // What a step says when its time is over is rarely why.
    throw explained(quiescer, limit.signal.aborted ? limit.signal.reason : error);
  } finally {
    clearTimeout(timer);
  }
}

/** Of these, whoever takes snapshots thinks that they speak of the volume: that it is gone, or that it is worth trying again. */
const ownMeaning: readonly string[] = ['not_found', 'busy', 'already_exists'];

function explained({ name }: Quiescer, error: unknown): unknown {
  if (error instanceof CoppiceError) {
    const code = ownMeaning.includes(error.code) ? 'io_error' : error.code;
    if (error.message.startsWith(`${name}:`) && code === error.code) return error;
    const message = error.message.startsWith(`${name}:`) ? error.message : `${name}: ${error.message}`;
    return new CoppiceError(code, message, {
      blockers: error.blockers,
      cause: error,
    });
  }
  const why = error instanceof Error ? error.message.replace(/(?<![.?])$/, '.') : String(error);
  return new CoppiceError('io_error', `${name}: ${why}`, { cause: error });
}
