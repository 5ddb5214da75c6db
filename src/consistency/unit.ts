import { lastLine, streamProgram } from '../linux/programs.ts';
import { CoppiceError } from '../model/errors.ts';

/** Units of systemd, as systemctl(1) tells of them and systemd.unit(5) explains it. */

export const systemctl = '/usr/bin/systemctl';

/** A name as systemd takes it, and neither a pattern that stands for several nor an option. */
export const unitPattern: RegExp = /^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$/;

export interface UnitState {
  /** With its suffix; an alias is told by what it stands for. */
  readonly name: string;
  /** `loaded`, `masked`, `not-found`, and others for files that systemd can't use. */
  readonly load: string;
  readonly active: string;
  /** How it has ended: `success`, `exit-code`, `timeout` and others; empty for units that don't say so. */
  readonly result: string;
  /** Units that are stopped whenever it is, as far as they run. */
  readonly takesAlong: readonly string[];
}

/** @throws CoppiceError unsupported where no systemd answers */
export async function unitState(name: string, signal?: AbortSignal): Promise<UnitState> {
  const [state] = await statesOf([name], signal);
  if (state) return state;
  throw new CoppiceError('io_error', `systemd said nothing about the unit ${name}.`);
}

/** Whether it runs in any way: also while it starts, waits to be started again, or stops. */
export function runs({ active }: UnitState): boolean {
  return active !== 'inactive' && active !== 'failed';
}

/** Those of them that run and stop with it, directly or not: who starts it again has to start them, too. */
export async function takenAlong(unit: UnitState, signal?: AbortSignal): Promise<readonly string[]> {
  const seen = new Map([[unit.name, unit]]);
  let next = unit.takesAlong;
  while (next.length > 0) {
    const found = (await statesOf(next, signal)).filter(runs);
    for (const each of found) seen.set(each.name, each);
    next = found.flatMap(({ takesAlong }) => takesAlong).filter((name) => !seen.has(name));
  }
  seen.delete(unit.name);
  // A target does nothing by itself, and to start it would start whatever else it wants.
  return [...seen.keys()].filter((name) => !name.endsWith('.target'));
}

/** Properties that are lists of units which a stop is handed on to. */
const handedOn = ['RequiredBy', 'RequisiteOf', 'BoundBy', 'ConsistsOf', 'PropagatesStopTo'] as const;

async function statesOf(names: readonly string[], signal: AbortSignal | undefined): Promise<UnitState[]> {
  const wanted = ['Id', 'LoadState', 'ActiveState', 'Result', ...handedOn].join();
  const args = ['show', `--property=${wanted}`, '--', ...new Set(names)];
  const { code, output, errors } = await streamProgram(systemctl, args, { signal });
  if (code !== 0) {
    throw new CoppiceError(
      'unsupported',
      `systemd can't be asked about ${names.join(', ')}: ${lastLine(errors) || `systemctl ended with ${code}`}; is this host run by systemd?`,
    );
  }
  return output.split('\n\n').filter(Boolean).map(stateIn);
}

function stateIn(block: string): UnitState {
  const values = new Map(
    block.split('\n').map((line) => {
      const [name = '', ...value] = line.split('=');
      return [name, value.join('=')];
    }),
  );
  const value = (name: string): string => values.get(name)?.trim() ?? '';
  return {
    name: value('Id'),
    load: value('LoadState'),
    active: value('ActiveState'),
    result: value('Result'),
    takesAlong: handedOn.flatMap((name) => value(name).split(' ').filter(Boolean)),
  };
}
