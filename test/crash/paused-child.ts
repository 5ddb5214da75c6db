import type { ChildRequest } from './child.ts';
import { type RunningChild, startChild } from './run-child.ts';

/** A process that stops before each of its steps. */
export interface PausedChild extends AsyncDisposable {
  /** Lets it go on until it is about to take such a step; @throws when it never does */
  until(step: RegExp): Promise<void>;
  /** Lets it go on to its end. */
  finish(): Promise<void>;
  kill(): Promise<void>;
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
}

export function pausedChild(request: ChildRequest, environment: NodeJS.ProcessEnv = {}): PausedChild {
  const child: RunningChild = startChild({ ...request, pause: true }, environment);
  const messages = child.messages()[Symbol.asyncIterator]();
  const goOn = (): unknown => child.process.stdin?.write('.');
  let isWaiting = false;
  /** The step that it waits before; undefined when there is none any more. */
  const next = async (): Promise<string | undefined> => {
    if (isWaiting) goOn();
    const { value, done } = await messages.next();
    isWaiting = !done && 'step' in value;
    return !done && 'step' in value ? value.step : undefined;
  };
  const kill = async (): Promise<void> => {
    child.process.kill('SIGKILL');
    await child.outcome().catch(() => {}); // it was to die, whatever it had to say
  };
  return {
    async until(step) {
      for (let at = await next(); ; at = await next()) {
        if (at === undefined) throw new Error(`It has taken no step ${step}.`);
        if (step.test(at)) return;
      }
    },
    async finish() {
      while ((await next()) !== undefined);
      await child.outcome();
    },
    kill,
    signal: (signal) => void child.process.kill(signal),
    [Symbol.asyncDispose]: kill,
  };
}
