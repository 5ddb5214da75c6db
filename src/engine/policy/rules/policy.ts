import { CoppiceError, didYouMean } from '../../../model/errors.ts';
import { type Settings, settingsOf } from '../../../model/settings.ts';
import { parseSize } from '../../../model/sizes.ts';
import { type Period, periods } from './calendar.ts';
import { parseSchedule, type Schedule, scheduleOf } from './schedule.ts';

/** What is to be done with the snapshots of one volume, as its settings say. */
export interface Policy {
  /** When snapshots are taken; undefined: none are. */
  readonly schedule: Schedule | undefined;
  /** So many of the newest are kept, whatever their time. */
  readonly last: number;
  /** Of so many periods the newest is kept: the present one and those before it that have any. */
  readonly keep: Readonly<Record<Period, number>>;
  /** Fewer than these newest are never left, whatever else is said. At least one. */
  readonly keepAtLeast: number;
  /** Milliseconds, and as it was written. */
  readonly maxAge: { readonly milliseconds: number; readonly text: string } | undefined;
  /** How often the newest snapshot that was taken for a database is proven; undefined: not by itself. */
  readonly verify: Schedule | undefined;
  /** Below this free space in the pool what is kept may go. */
  readonly minFree: MinFree | undefined;
}

export type MinFree = { readonly text: string } & ({ readonly share: number } | { readonly bytes: number });

const counts = ['last', ...periods] as const;
const names = [...counts, 'keep-at-least', 'max-age', 'min-free', 'schedule', 'verify'] as const;

/**
 * The policy that a volume declares: its settings `policy.*`. Undefined where it declares none.
 * @throws CoppiceError invalid_argument, which names the setting
 */
export function policyIn(settings: Settings | undefined): Policy | undefined {
  const given = new Map(settingsOf(settings, 'policy'));
  if (given.size === 0) return undefined;
  for (const name of given.keys()) requireKnown(name);
  const count = (name: string): number => countIn(name, given.get(name) ?? '0');
  const keep = Object.fromEntries(periods.map((period) => [period, count(period)])) as Policy['keep'];
  const schedule = given.get('schedule');
  const maxAge = given.get('max-age');
  const minFree = given.get('min-free');
  const verify = given.get('verify');
  return {
    schedule: schedule === undefined ? scheduleOf(finest(keep)) : parseSchedule(schedule, wrong),
    last: count('last'),
    keep,
    keepAtLeast: Math.max(1, count('keep-at-least')),
    maxAge: maxAge === undefined ? undefined : { milliseconds: ageIn(maxAge), text: maxAge },
    verify: verify === undefined ? undefined : verifyIn(verify),
    minFree: minFree === undefined ? undefined : freeIn(minFree),
  };
}

/** Without any number there is nothing to be over. */
export function keepsNumbers(policy: Policy): boolean {
  return policy.last > 0 || periods.some((period) => policy.keep[period] > 0);
}

/** The numbers in words: `24 hourly, 7 daily`. */
export function numbersOf({ last, keep }: Policy): string {
  const kept = periods.filter((period) => keep[period] > 0).map((period) => `${keep[period]} ${period}`);
  return [...(last > 0 ? [`the last ${last}`] : []), ...kept].join(', ');
}

/** Who wants 24 hourly wants one taken each hour. */
function finest(keep: Policy['keep']): Period | undefined {
  return periods.find((period) => keep[period] > 0);
}

function requireKnown(name: string): void {
  if (names.some((each) => each === name)) return;
  throw new CoppiceError(
    'invalid_argument',
    `There is no setting "policy.${name}"; there is ${names.map((each) => `policy.${each}`).join(', ')}.${didYouMean(name, names)}`,
  );
}

function countIn(name: string, text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw wrong(name, text, 'write how many are to be kept, such as 24');
}

const hour = 3600 * 1000;
const units: Readonly<Record<string, number>> = {
  h: hour,
  d: 24 * hour,
  w: 7 * 24 * hour,
  y: 365 * 24 * hour,
};

function ageIn(text: string): number {
  const [, number = '', unit = ''] = /^([1-9]\d{0,4})([hdwy])$/.exec(text) ?? [];
  const length = units[unit];
  if (length !== undefined) return Number(number) * length;
  throw wrong('max-age', text, 'write a number of hours, days, weeks or years, such as 12h, 90d, 8w or 2y');
}

/** A proof may take hours, so no more often than that. */
function verifyIn(text: string): Schedule | undefined {
  const period = periods.find((each) => each === text);
  if (period || text === 'none') return scheduleOf(period);
  throw wrong('verify', text, `write ${periods.join(', ')} or none`);
}

function freeIn(text: string): MinFree {
  const [, percent] = /^(\d{1,2}(?:\.\d)?)%$/.exec(text) ?? [];
  if (percent !== undefined) return { text, share: Number(percent) / 100 };
  try {
    return { text, bytes: parseSize(text) };
  } catch {
    throw wrong('min-free', text, 'write a share of the pool or a size, such as 10% or 50G');
  }
}

function wrong(name: string, text: string, remedy: string): CoppiceError {
  return new CoppiceError('invalid_argument', `The setting policy.${name} can't be "${text}": ${remedy}.`);
}
