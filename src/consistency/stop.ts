import { streamProgram } from '../linux/programs.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Settings } from '../model/settings.ts';
import { ProgramAround } from './program-around.ts';
import type { Quiescer } from './quiescer.ts';

/** Whether it is said for a volume how to stop what runs on it. */
export function declaresStop(settings: Settings | undefined): boolean {
  return settings?.['stop.unit'] !== undefined || settings?.['stop.hook'] !== undefined;
}

/** Milliseconds: a database may have much to write before it has stopped. */
const longest = 300_000;

/**
 * What runs on a volume, stopped and started again: a unit of systemd by `stop.unit`, or `PROGRAM stop` and `PROGRAM start` by `stop.hook`.
 * @throws CoppiceError invalid_argument when neither is set
 */
export function stopper(volume: string, settings: Settings): Quiescer {
  const { 'stop.unit': unit, 'stop.hook': hook } = settings;
  if (unit !== undefined) return stopping('stop.unit', systemctl, ['--', unit], () => isActive(unit));
  if (hook !== undefined) return stopping('stop.hook', hook, []);
  throw new CoppiceError(
    'invalid_argument',
    `Nothing says how to stop what runs on ${volume}; say it with "coppice set ${volume} stop.unit=NAME.service", or with stop.hook=PROGRAM, which is run with "stop" and "start".`,
  );
}

const systemctl = '/usr/bin/systemctl';

/** What does not run is not to be started afterwards. @throws CoppiceError not_found */
async function isActive(unit: string): Promise<boolean> {
  const { code } = await streamProgram(systemctl, ['is-active', '--quiet', '--', unit], {});
  const [active, inactive] = [0, 3];
  if (code === active || code === inactive) return code === active;
  throw new CoppiceError(
    'not_found',
    `systemd can't tell whether the unit ${unit} of stop.unit runs (exit code ${code}); is that its name?`,
  );
}

function stopping(
  setting: string,
  program: string,
  words: readonly string[],
  isNeeded?: () => Promise<boolean>,
): Quiescer {
  return new ProgramAround({
    setting,
    name: setting,
    level: 'cold',
    program,
    words: { pre: ['stop', ...words], post: ['start', ...words] },
    milliseconds: longest,
    details: { program, words: words.join(' ') },
    ...(isNeeded && { isNeeded }),
  });
}
