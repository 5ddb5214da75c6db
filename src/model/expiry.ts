import { CoppiceError } from './errors.ts';

const hour = 60 * 60 * 1000;

const units: Readonly<Record<string, number>> = { h: hour, d: 24 * hour, w: 7 * 24 * hour };

/**
 * When something ends, in ISO 8601 and UTC: after a time (`12h`, `30d`, `8w`), or at a date (`2027-01-31`, when that day begins in
 * UTC) or a moment (`2027-01-31T12:00:00Z`).
 * @throws CoppiceError invalid_argument, also for what is past
 */
export function parseExpiry(text: string, now: number = Date.now()): string {
  const at = momentIn(text, now);
  if (at === undefined)
    throw invalid(
      `"${text}" is no time: write how long it is to last, such as 30d or 12h, or until when, such as 2027-01-31 or 2027-01-31T12:00:00Z.`,
    );
  if (at <= now) throw invalid(`${text} is past.`);
  return new Date(at).toISOString();
}

function momentIn(text: string, now: number): number | undefined {
  const [, count, unit = ''] = /^(\d{1,5})([hdw])$/.exec(text) ?? [];
  if (count !== undefined) return now + Number(count) * (units[unit] ?? 0);
  const [, day, time = '00:00:00'] = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)Z)?$/.exec(text) ?? [];
  if (day === undefined) return undefined;
  const at = Date.parse(`${day}T${time}.000Z`);
  // A day that no month has is read as one of the next.
  return Number.isFinite(at) && new Date(at).toISOString() === `${day}T${time}.000Z` ? at : undefined;
}

function invalid(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', `--expires: ${message}`);
}
