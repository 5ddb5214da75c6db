import { CoppiceError } from '../model/errors.ts';
import type { Settings } from '../model/settings.ts';
import { type AroundSnapshot, ProgramAround } from './program-around.ts';
import type { Quiescer } from './quiescer.ts';
import { runs, systemctl, takenAlong, type UnitState, unitState } from './unit.ts';

/** Whether it is said for a volume how to stop what runs on it. */
export function declaresStop(settings: Settings | undefined): boolean {
  return settings?.['stop.unit'] !== undefined || settings?.['stop.hook'] !== undefined;
}

/** Seconds that it may take to stop, and as many to start, unless `stop.timeout` says otherwise: a database may have much to write. */
const usualSeconds = 300;
const mostSeconds = 24 * 3600;

/** @returns milliseconds @throws CoppiceError invalid_argument */
export function stopTimeout(settings: Settings): number {
  const text = settings['stop.timeout'] ?? String(usualSeconds);
  const seconds = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (seconds > 0 && seconds <= mostSeconds) return seconds * 1000;
  throw new CoppiceError(
    'invalid_argument',
    `stop.timeout=${text} must be a number of seconds from 1 to ${mostSeconds}.`,
  );
}

/**
 * What runs on a volume, stopped and started again: a unit of systemd by `stop.unit`, or `PROGRAM stop` and `PROGRAM start` by `stop.hook`.
 * @param reason a snapshot is of what has stopped by itself, and not of what was killed; a rollback replaces that in any case
 * @throws CoppiceError invalid_argument when neither is set
 */
export function stopper(volume: string, settings: Settings, reason: 'snapshot' | 'rollback'): Quiescer {
  const { 'stop.unit': unit, 'stop.hook': hook } = settings;
  const milliseconds = stopTimeout(settings);
  if (unit !== undefined) return unitStopper(unit, reason, milliseconds);
  if (hook !== undefined)
    return stopping('stop.hook', hook, {
      thing: `stop ${hook}`,
      words: async () => ({ pre: ['stop'], post: ['start'] }),
      details: { program: hook },
      milliseconds,
    });
  throw new CoppiceError(
    'invalid_argument',
    `Nothing says how to stop what runs on ${volume}; say it with "coppice set ${volume} stop.unit=NAME.service", or with stop.hook=PROGRAM, which is run with "stop" and "start".`,
  );
}

function unitStopper(unit: string, reason: 'snapshot' | 'rollback', milliseconds: number): Quiescer {
  return stopping('stop.unit', systemctl, {
    thing: `unit ${unit}`,
    details: { unit },
    milliseconds,
    async words(signal) {
      const state = await unitState(unit, signal);
      requireLoaded(unit, state);
      // What does not run is not to be started afterwards.
      if (!runs(state)) return undefined;
      requireStartable(unit, state);
      const others = await takenAlong(state, signal);
      return { pre: ['stop', '--', unit], post: ['start', '--', unit, ...others] };
    },
    ...(reason === 'snapshot' && {
      confirm: async (signal) => requireStopped(unit, await unitState(unit, signal)),
    }),
  });
}

/** A name with a mistake in it would be taken for something that does not run. */
function requireLoaded(unit: string, { load }: UnitState): void {
  if (load === 'loaded' || load === 'masked') return;
  const why = load === 'not-found' ? 'there is no such unit' : `systemd can't use its file (${load})`;
  throw new CoppiceError(
    'invalid_argument',
    `The unit ${unit} of stop.unit can't be stopped and started again: ${why}; "systemctl status ${unit}" says more.`,
  );
}

function requireStartable(unit: string, { load, active }: UnitState): void {
  if (load === 'masked') {
    throw new CoppiceError(
      'invalid_argument',
      `The unit ${unit} of stop.unit runs and is masked, so it could not be started again; "systemctl unmask ${unit}" lets it.`,
    );
  }
  if (active !== 'deactivating') return;
  throw new CoppiceError(
    'blocked',
    `The unit ${unit} of stop.unit is being stopped by somebody else just now, and nobody knows whether it is to be started again; try it again when it has stopped.`,
  );
}

function requireStopped(unit: string, state: UnitState): void {
  if (runs(state)) {
    throw new CoppiceError(
      'io_error',
      `The unit ${unit} was to be stopped, and is ${state.active}: something else has started it meanwhile.`,
    );
  }
  if (state.active !== 'failed') return;
  throw new CoppiceError(
    'io_error',
    `The unit ${unit} has not stopped by itself as it should (${state.result || 'failed'}), so what it has left may be incomplete; "systemctl status ${unit}" says more.`,
  );
}

function stopping(
  setting: string,
  program: string,
  how: Pick<AroundSnapshot, 'thing' | 'words' | 'confirm' | 'details' | 'milliseconds'>,
): Quiescer {
  return new ProgramAround({
    setting,
    name: setting,
    level: 'cold',
    program,
    ...how,
  });
}
