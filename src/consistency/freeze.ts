import { monotonicMilliseconds } from '../linux/monotonic.ts';
import { checkTimeout } from '../linux/time-limit.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState } from '../model/metadata.ts';
import { parseDeclaration, secondsOf } from './declaration.ts';
import { findWhatToFreeze, freezeTargets, type WhatToFreeze, whatToFreeze } from './freeze-what.ts';
import type { FreezeGuard, Freezing } from './freezing.ts';
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from './quiescer.ts';
import { startReleaser } from './releaser.ts';
import { openTurn } from './turns.ts';

/**
 * `quiesce.freeze`: the processes of any application are stopped around the snapshot, for milliseconds. So the copy holds what they had
 * written at one instant, in all files, whether it was flushed or not; what a start from it does is the application's own affair, as after
 * it was killed.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const declaration = parseDeclaration(name, value, [...freezeTargets.slice(0, -1), 'timeout']);
  const timeout = checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold);
  return new FreezeQuiescer(name, whatToFreeze(declaration), timeout);
}

class FreezeQuiescer implements Quiescer {
  readonly name: string;
  readonly level = 'freeze';
  readonly limits: StepLimits;
  readonly #what: WhatToFreeze;
  readonly #timeout: number;
  readonly #opened: DisposableStack = new DisposableStack();
  #freezing: Freezing | undefined;
  #guard: FreezeGuard | undefined;
  #frozen: { readonly since: number; readonly isWhole: boolean } | undefined;
  #details: Record<string, string> = {};

  constructor(name: string, what: WhatToFreeze, timeout: number) {
    this.name = name;
    this.#what = what;
    this.#timeout = timeout;
    this.limits = { ...usualLimits, hold: timeout };
  }

  async prepare(scope: Scope, signal: AbortSignal): Promise<Preparation> {
    const freezing = this.#opened.use(await findWhatToFreeze(this.#what, scope, signal));
    freezing.check();
    const turn = this.#opened.use(openTurn(freezing.turn));
    const releaser = this.#opened.use(await startReleaser(turn.fd, freezing.cgroup));
    this.#freezing = freezing;
    this.#guard = { turn, releaser };
    return {};
  }

  async hold(signal: AbortSignal): Promise<void> {
    const [freezing, guard] = [this.#freezing, this.#guard];
    if (!freezing || !guard) throw new Error('nothing is prepared');
    await guard.turn.take(signal);
    this.#frozen = { since: monotonicMilliseconds(), isWhole: false };
    await guard.releaser.tell({ milliseconds: this.#timeout });
    await freezing.freeze(guard, signal);
    this.#frozen = { ...this.#frozen, isWhole: true };
  }

  async release(): Promise<void> {
    const [freezing, guard, frozen] = [this.#freezing, this.#guard, this.#frozen];
    if (!freezing || !guard || !frozen) return;
    this.#frozen = undefined;
    const milliseconds = monotonicMilliseconds() - frozen.since;
    let count: number | undefined;
    try {
      if (frozen.isWhole) count = freezing.count();
    } finally {
      freezing.thaw(guard);
      // First it must be known that there is nothing left to thaw: by then it may be another's turn.
      await guard.releaser.tell({ done: true }).catch(() => undefined); // all goes on, also where nobody hears it
      guard.turn.leave();
    }
    this.#details = { processes: String(count ?? 0), milliseconds: String(milliseconds) };
    if (frozen.isWhole && (count === undefined || milliseconds >= this.#timeout))
      throw this.#moved(milliseconds);
  }

  async finish(): Promise<ApplicationState> {
    const { kind, value } = this.#what;
    const what = value === '' ? kind : `${kind}=${value}`;
    return {
      name: this.name,
      level: this.level,
      recovery: 'as after a crash',
      details: { frozen: what, ...this.#details },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => undefined);
    this.#opened[Symbol.dispose]();
  }

  #moved(milliseconds: number): CoppiceError {
    const why =
      milliseconds >= this.#timeout
        ? `the snapshot was not complete in ${this.#timeout / 1000} s, which is how long they may be held; a longer time is declared by timeout=`
        : 'somebody else has let them go on before the snapshot was complete';
    return new CoppiceError(
      'io_error',
      `The processes of quiesce.${this.name} were not frozen all the time: ${why}.`,
    );
  }
}
