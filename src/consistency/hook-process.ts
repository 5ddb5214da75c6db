import { CoppiceError } from '../model/errors.ts';
import { Lines, startScript } from './script.ts';

/** The process that runs a program before and after something, the second time whatever happens to us. */

/** What the process that runs a hook is told. */
export interface HookPlan {
  readonly program: string;
  /** What it is given, in each phase. */
  readonly words: Readonly<Record<'pre' | 'post', readonly string[]>>;
  readonly environment: Readonly<Record<string, string>>;
  /** For `pre`, for the time from its end to the beginning of `post`, and for that: each. */
  readonly milliseconds: number;
  /** `pre` has been run by another one, which has died. */
  readonly isStarted?: boolean;
}

/** What it answers. */
export interface HookReport {
  readonly phase: 'ready' | 'pre' | 'post';
  /** What is the matter, to go behind the name of the program. */
  readonly why?: string;
  readonly output?: string;
  /** `post` has been run before it was asked for. */
  readonly isUnasked?: boolean;
}

/** @throws CoppiceError io_error with what the program has said */
export function requireSuccess(
  { program, words }: Pick<HookPlan, 'program' | 'words'>,
  report: HookReport | undefined,
): void {
  if (report && report.why === undefined) return;
  const {
    phase = 'pre',
    why = 'was ended, because the process that runs it has been killed',
    output = '',
  } = report ?? {};
  const said = output === '' ? 'it said nothing' : `it said: ${output}`;
  throw new CoppiceError(
    'io_error',
    `${[program, ...words[phase === 'ready' ? 'pre' : phase]].join(' ')} ${why}; ${said.replace(/\.$/, '')}.`,
  );
}

export interface Runner extends Disposable {
  /** Undefined when it was killed before it could answer. */
  ask(phase: 'pre' | 'post', signal: AbortSignal): Promise<HookReport | undefined>;
}

export async function startRunner(plan: HookPlan): Promise<Runner> {
  const script = startScript('hook-runner', [JSON.stringify(plan)]);
  const lines = new Lines<HookReport>(script);
  if ((await lines.next())?.phase !== 'ready') {
    throw new CoppiceError(
      'io_error',
      'The process that runs a hook whatever happens could not be started; nothing was done.',
    );
  }
  script.child.unref();
  return {
    async ask(phase, signal) {
      script.child.stdin?.write(`${phase}\n`);
      for (;;) {
        const report = await lines.next(signal);
        if (!report || report.phase === phase) return report;
      }
    },
    [Symbol.dispose]: () => void script.child.stdin?.end(),
  };
}
