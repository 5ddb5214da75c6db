import { environment } from '../linux/programs.ts';
import { openTrusted, requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState } from '../model/metadata.ts';
import type { Settings } from '../model/settings.ts';
import { type HookPlan, type Runner, requireSuccess, startRunner } from './hook-process.ts';
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from './quiescer.ts';

/** Whether it is said for a volume how to stop what runs on it. */
export function declaresStop(settings: Settings | undefined): boolean {
  return settings?.['stop.unit'] !== undefined || settings?.['stop.hook'] !== undefined;
}

/**
 * What runs on a volume, stopped and started again: a unit of systemd by `stop.unit`, or `PROGRAM stop` and `PROGRAM start` by `stop.hook`.
 * It is started also when the stop has failed half way, and when this process is killed meanwhile.
 * @throws CoppiceError invalid_argument when neither is set
 */
export function stopper(volume: string, settings: Settings): Quiescer {
  const { 'stop.unit': unit, 'stop.hook': hook } = settings;
  if (unit !== undefined) return new Stopper('stop.unit', '/usr/bin/systemctl', ['--', unit]);
  if (hook !== undefined) return new Stopper('stop.hook', hook, []);
  throw new CoppiceError(
    'invalid_argument',
    `Nothing says how to stop what runs on ${volume}; say it with "coppice set ${volume} stop.unit=NAME.service", or with stop.hook=PROGRAM, which is run with "stop" and "start".`,
  );
}

/** A database may have much to write before it has stopped. */
const longest = 300_000;
const allowance = 20_000;

class Stopper implements Quiescer {
  readonly name: string;
  readonly level = 'cold';
  readonly limits: StepLimits = {
    ...usualLimits,
    hold: longest + allowance,
    release: 2 * longest + allowance,
  };
  readonly #program: string;
  readonly #words: readonly string[];
  #plan: HookPlan | undefined;
  #runner: Runner | undefined;
  #isBegun = false;

  constructor(name: string, program: string, words: readonly string[]) {
    this.name = name;
    this.#program = program;
    this.#words = words;
  }

  async prepare({ subject }: Scope): Promise<Preparation> {
    const what = `the program of ${this.name}`;
    requireOwn(this.#program, what);
    openTrusted(this.#program, what)[Symbol.dispose]();
    this.#plan = {
      program: this.#program,
      words: { pre: ['stop', ...this.#words], post: ['start', ...this.#words] },
      milliseconds: longest,
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
  }

  async release(signal: AbortSignal): Promise<void> {
    if (!this.#runner || !this.#plan || !this.#isBegun) return;
    this.#isBegun = false;
    let report = await this.#runner.ask('post', signal);
    if (!report) {
      // Who should have started it was killed: to start what runs does nothing.
      using second = await startRunner({ ...this.#plan, isStarted: true });
      report = await second.ask('post', signal);
    }
    requireSuccess(this.#program, report);
  }

  async finish(): Promise<ApplicationState> {
    const details = { program: this.#program, words: this.#words.join(' ') };
    return { name: this.name, level: this.level, recovery: 'none', details };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#runner?.[Symbol.dispose]();
  }
}
