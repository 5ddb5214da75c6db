/**
 * Into which hour, day, week, month and year a moment falls: in UTC. An hour of the local time comes twice in autumn and does not come in
 * spring, a day of it has 23 or 25 hours, and a host that moves, or a pool that is opened on another, would see other days: with
 * that a policy would keep less than it says. The names of snapshots and all times in metadata are UTC, too.
 */

/** The least important first: under pressure of space these go before those. */
export const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;

export type Period = (typeof periods)[number];

/** A name of the period that a moment falls into, such as `2026-11-21`, which no other period of this kind has. */
export function periodAt(period: Period, time: number): string {
  const text = new Date(time).toISOString();
  // A year after 9999, or before 0, has a sign and six digits.
  const day = text.slice(0, text.indexOf('T'));
  switch (period) {
    case 'hourly':
      return `${day} ${text.slice(day.length + 1, day.length + 3)}:00`;
    case 'daily':
      return day;
    case 'weekly':
      return weekAt(time);
    case 'monthly':
      return day.slice(0, -3);
    case 'yearly':
      return day.slice(0, -6);
  }
}

/** The number of that period, which those of its neighbours are next to: quicker than its name. */
export function periodNumber(period: Period, time: number): number {
  switch (period) {
    case 'hourly':
      return Math.floor(time / hourLength);
    case 'daily':
      return Math.floor(time / dayLength);
    case 'weekly':
      // 1970 began on a Thursday.
      return Math.floor((time / dayLength + 3) / 7);
    case 'monthly': {
      const date = new Date(time);
      return date.getUTCFullYear() * 12 + date.getUTCMonth();
    }
    case 'yearly':
      return new Date(time).getUTCFullYear();
  }
}

const hourLength = 3600 * 1000;
const dayLength = 24 * hourLength;

/** ISO 8601: weeks begin on Monday, and belong to the year that their Thursday is in. */
function weekAt(time: number): string {
  const date = new Date(time);
  const daysSinceMonday = (date.getUTCDay() + 6) % 7;
  const thursday = time + (3 - daysSinceMonday) * dayLength;
  const year = new Date(thursday).getUTCFullYear();
  // The years from 0 to 99 would be taken for those of the last century.
  const newYear = new Date(0).setUTCFullYear(year, 0, 1);
  const week = Math.floor((thursday - newYear) / (7 * dayLength)) + 1;
  return `${year}-W${String(week).padStart(2, '0')}`;
}
