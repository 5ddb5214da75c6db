import type { CoppiceError } from '../../../model/errors.ts';
import { type Period, periodAt, periods } from './calendar.ts';

/** When snapshots are taken: one in each slot, which all begin at the same moments everywhere. */
export interface Schedule {
  /** As it is written: `hourly`, `15min`. */
  readonly text: string;
  /** A name of the slot that a moment falls into. */
  slotAt(time: number): string;
}

const minute = 60 * 1000;

/**
 * `hourly` to `yearly`, or so many minutes or hours that an hour or a day is made of whole ones: `15min`, `6h`. `none`: none are taken, as
 * for a copy whose snapshots come from elsewhere.
 * @throws what `wrong` makes
 */
export function parseSchedule(
  text: string,
  wrong: (name: string, text: string, remedy: string) => CoppiceError,
): Schedule | undefined {
  if (text === 'none') return undefined;
  const period = periods.find((each) => each === text);
  if (period) return scheduleOf(period);
  const [, number = '', unit] = /^([1-9]\d?)(min|h)$/.exec(text) ?? [];
  const [many, whole, length] = [Number(number), unit === 'h' ? 24 : 60, unit === 'h' ? 60 * minute : minute];
  if (unit !== undefined && whole % many === 0) return every(text, many * length);
  throw wrong(
    'schedule',
    text,
    `write ${periods.join(', ')}, a part of an hour or of a day, such as 15min or 6h, or none`,
  );
}

export function scheduleOf(period: Period | undefined): Schedule | undefined {
  return period && { text: period, slotAt: (time) => `${period} ${periodAt(period, time)}` };
}

function every(text: string, milliseconds: number): Schedule {
  return {
    text,
    slotAt(time) {
      const begin = new Date(Math.floor(time / milliseconds) * milliseconds).toISOString();
      return `${text} ${begin.slice(0, -8).replace('T', ' ')}`;
    },
  };
}
