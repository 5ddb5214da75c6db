import { environment } from '../linux/programs.ts';
import { checkTimeout } from '../linux/time-limit.ts';
import { openTrusted, requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState } from '../model/metadata.ts';
import { invalidDeclaration, parseDeclaration, secondsOf } from './declaration.ts';
import { type HookPlan, type Runner, requireSuccess, startRunner } from './hook-process.ts';
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from './quiescer.ts';

/**
 * `quiesce.hook`: a program of the user's own, run as `PROGRAM pre` before the snapshot and as `PROGRAM post` after it. `post` runs
 * whenever `pre` was started, also when that failed, and when this process is killed meanwhile. That the application is at rest
 * after `pre` is the user's word.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const declaration = parseDeclaration(name, value, ['timeout']);
  const { where } = declaration;
  if (where === undefined || !/^\/[^\0]+$/.test(where))
    throw invalidDeclaration(name, 'it begins with the absolute path of a program');
  return new HookQuiescer(name, where, checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold));
}

/** Milliseconds more than a program has, for its ending by force. */
const allowance = 10_000;

class HookQuiescer implements Quiescer {
  readonly name: string;
  readonly level = 'application';
  readonly limits: StepLimits;
  readonly #program: string;
  readonly #timeout: number;
  #plan: HookPlan | undefined;
  #runner: Runner | undefined;
  #isBegun = false;
  #isHeld = false;

  constructor(name: string, program: string, timeout: number) {
    this.name = name;
    this.#program = program;
    this.#timeout = timeout;
    // The runner ends a program that takes too long by itself; `post` has to wait for that of `pre`.
    const limit = timeout + allowance;
    this.limits = { ...usualLimits, hold: limit, release: timeout + 2 * allowance };
  }

  async prepare({ subject }: Scope): Promise<Preparation> {
    requireProgram(this.#program, this.name);
    this.#plan = {
      program: this.#program,
      words: { pre: ['pre'], post: ['post'] },
      milliseconds: this.#timeout,
      environment: {
        PATH: environment.PATH,
        LANG: process.env['LANG'] ?? 'C',
        COPPICE_VOLUME: subject.volume,
        ...(subject.directory !== undefined && { COPPICE_DIRECTORY: subject.directory }),
      },
    };
    this.#runner = await startRunner(this.#plan);
    return {};
  }

  async hold(signal: AbortSignal): Promise<void> {
    if (!this.#runner) throw new Error('nothing is prepared');
    signal.throwIfAborted();
    this.#isBegun = true;
    requireSuccess(this.#program, await this.#runner.ask('pre', signal));
    this.#isHeld = true;
  }

  async release(signal: AbortSignal): Promise<void> {
    if (!this.#runner || !this.#plan || !this.#isBegun) return;
    this.#isBegun = false;
    let report = await this.#runner.ask('post', signal);
    if (!report) {
      // Who should have run it was killed, so nobody knows how far it came. Twice is better than never.
      using second = await startRunner({ ...this.#plan, isStarted: true });
      report = await second.ask('post', signal);
    }
    requireSuccess(this.#program, report);
    if (!this.#isHeld || !report?.isUnasked) return;
    throw new CoppiceError(
      'io_error',
      `${this.#program} post was run before the snapshot was complete, because that took more than ${this.#timeout / 1000} s; a longer time is declared by timeout=.`,
    );
  }

  async finish(): Promise<ApplicationState> {
    return { name: this.name, level: this.level, recovery: 'none', details: { hook: this.#program } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#runner?.[Symbol.dispose]();
  }
}

/** Whoever could change the program could do all that we can. */
function requireProgram(path: string, name: string): void {
  const what = `the program of quiesce.${name}`;
  requireOwn(path, what);
  using file = openTrusted(path, what);
  if (file.status.isFile() && (file.status.mode & 0o111n) !== 0n) return;
  throw new CoppiceError('invalid_argument', `${path} is no program that could be run: make it executable.`);
}
