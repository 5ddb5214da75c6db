import { createHash } from 'node:crypto';
import { environment } from '../linux/programs.ts';
import { openTrusted, requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState, Consistency } from '../model/metadata.ts';
import { type HookPlan, type Runner, requireSuccess, startRunner } from './hook-process.ts';
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from './quiescer.ts';
import { openTurn, type Turn } from './turns.ts';

/** A program that is run before the snapshot and after it. */
export interface AroundSnapshot {
  /** The setting that it comes from, for sentences: `quiesce.hook`. */
  readonly setting: string;
  readonly name: string;
  readonly level: Consistency;
  readonly program: string;
  /** What it is given, before and after; undefined when there is nothing to be done, as when nothing runs. */
  readonly words: (signal: AbortSignal) => Promise<HookPlan['words'] | undefined>;
  /** Milliseconds that it has, each time, and that may pass in between. */
  readonly milliseconds: number;
  readonly details: Readonly<Record<string, string>>;
  /** What is brought to rest: who does that to the same thing takes turns, because what one has stopped another one must not start. */
  readonly thing: string;
  /** Fails when that is not at rest as it should be; asked also when there was nothing to be done. */
  readonly confirm?: (signal: AbortSignal) => Promise<void>;
}

/** Milliseconds more than a program has, for its ending by force. */
const allowance = 10_000;

/**
 * Runs a program around a snapshot: the second time whenever the first was begun, also when that failed, and when this process is
 * killed meanwhile. That the application is at rest after the first is the program's word.
 */
export class ProgramAround implements Quiescer {
  readonly name: string;
  readonly level: Consistency;
  readonly limits: StepLimits;
  readonly #about: AroundSnapshot;
  #plan: HookPlan | undefined;
  #runner: Runner | undefined;
  #isBegun = false;
  #isHeld = false;
  #turn: Turn | undefined;

  constructor(about: AroundSnapshot) {
    this.#about = about;
    this.name = about.name;
    this.level = about.level;
    // The runner ends a program that takes too long by itself; the second time has to wait for the first.
    const limit = about.milliseconds + allowance;
    this.limits = { ...usualLimits, hold: limit, release: limit + allowance };
  }

  async prepare({ subject }: Scope, signal: AbortSignal): Promise<Preparation> {
    const { program, setting, milliseconds } = this.#about;
    requireProgram(program, setting);
    const words = await this.#about.words(signal);
    if (!words) return {};
    this.#plan = {
      program,
      words,
      milliseconds,
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
    signal.throwIfAborted();
    const { thing, confirm } = this.#about;
    this.#turn = openTurn(`program-${createHash('sha256').update(thing).digest('hex').slice(0, 32)}`);
    await this.#turn.take(signal);
    if (this.#plan && this.#runner) {
      this.#isBegun = true;
      requireSuccess(this.#plan, await this.#runner.ask('pre', signal));
    }
    await confirm?.(signal);
    this.#isHeld = true;
  }

  async release(signal: AbortSignal): Promise<void> {
    if (!this.#runner || !this.#plan || !this.#isBegun) return;
    this.#isBegun = false;
    const { program, words, milliseconds } = this.#plan;
    let report = await this.#runner.ask('post', signal);
    if (!report) {
      // Who should have run it was killed, so nobody knows how far it came. Twice is better than never.
      using second = await startRunner({ ...this.#plan, isStarted: true });
      report = await second.ask('post', signal);
    }
    this.#turn?.leave();
    requireSuccess(this.#plan, report);
    if (!this.#isHeld || !report?.isUnasked) return;
    const asked = words.post.join(' ');
    throw new CoppiceError(
      'io_error',
      `${program} ${asked} was run before the snapshot was complete, because that took more than ${milliseconds / 1000} s.`,
    );
  }

  async finish(): Promise<ApplicationState> {
    return { name: this.name, level: this.level, recovery: 'none', details: this.#about.details };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#runner?.[Symbol.dispose]();
    this.#turn?.[Symbol.dispose]();
  }
}

/** Whoever could change the program could do all that we can. */
function requireProgram(path: string, setting: string): void {
  const what = `the program of ${setting}`;
  requireOwn(path, what);
  using file = openTrusted(path, what);
  if (file.status.isFile() && (file.status.mode & 0o111n) !== 0n) return;
  throw new CoppiceError('invalid_argument', `${path} is no program that could be run: make it executable.`);
}
