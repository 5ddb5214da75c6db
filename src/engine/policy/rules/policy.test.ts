import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CoppiceError } from '../../../model/errors.ts';
import { checkSetting } from '../../../model/settings.ts';
import { periodAt, periodNumber, periods } from './calendar.ts';
import { numbersOf, policyIn } from './policy.ts';

const day = 24 * 3600 * 1000;

describe('a policy', () => {
  test('is what the settings of a volume say', () => {
    expect(policyIn(undefined)).toBeUndefined();
    expect(policyIn({ 'quiesce.postgres': 'pg' })).toBeUndefined();
    const policy = policyIn({
      'policy.hourly': '24',
      'policy.daily': '7',
      'policy.last': '3',
      'policy.max-age': '90d',
      'policy.min-free': '12.5%',
      'policy.keep-at-least': '2',
    });
    expect(policy).toMatchObject({
      schedule: { text: 'hourly' },
      last: 3,
      keep: { hourly: 24, daily: 7, weekly: 0, monthly: 0, yearly: 0 },
      keepAtLeast: 2,
      maxAge: { milliseconds: 90 * day, text: '90d' },
      minFree: { share: 0.125, text: '12.5%' },
    });
    expect(policy && numbersOf(policy)).toBe('the last 3, 24 hourly, 7 daily');
    expect(policyIn({ 'policy.daily': '7' })?.schedule?.text).toBe('daily');
    expect(policyIn({ 'policy.daily': '7', 'policy.schedule': '15min' })?.schedule?.text).toBe('15min');
    expect(policyIn({ 'policy.daily': '7', 'policy.schedule': 'none' })?.schedule).toBeUndefined();
    expect(policyIn({ 'policy.max-age': '2y' })).toMatchObject({ schedule: undefined, keepAtLeast: 1 });
    expect(policyIn({ 'policy.min-free': '5G' })?.minFree).toEqual({ text: '5G', bytes: 5 * 2 ** 30 });
    expect(policyIn({ 'policy.keep-at-least': '0' })?.keepAtLeast).toBe(1);
  });

  test.each([
    ['policy.dayly', '7', 'Did you mean "daily"?'],
    ['policy.hourly', '-1', 'such as 24'],
    ['policy.hourly', '1e3', 'such as 24'],
    ['policy.hourly', '', 'such as 24'],
    ['policy.hourly', '100000', 'such as 24'],
    ['policy.max-age', '0d', 'such as 12h'],
    ['policy.max-age', '90', 'such as 12h'],
    ['policy.max-age', '3m', 'such as 12h'],
    ['policy.min-free', '100%', 'such as 10%'],
    ['policy.min-free', '-5%', 'such as 10%'],
    ['policy.schedule', '7min', 'such as 15min'],
    ['policy.schedule', '5h', 'such as 15min'],
    ['policy.schedule', '0min', 'such as 15min'],
    ['policy.schedule', 'sometimes', 'such as 15min'],
  ])('with %s=%s is refused, and says what to write', (name, value, said) => {
    const read = (): unknown => policyIn({ [name]: value });
    expect(read).toThrow(CoppiceError);
    expect(read).toThrow(said);
    expect(read).toThrow(name);
  });

  test('has only settings that a volume can have', () => {
    const names = ['last', ...periods, 'keep-at-least', 'max-age', 'min-free', 'schedule'];
    for (const name of names) checkSetting(`policy.${name}`, '1');
  });
});

describe('slots and periods', () => {
  test.each([
    ['15min', '2026-11-21T03:14:59Z', '15min 2026-11-21 03:00'],
    ['15min', '2026-11-21T03:15:00Z', '15min 2026-11-21 03:15'],
    ['6h', '2026-11-21T11:59:59Z', '6h 2026-11-21 06:00'],
    ['hourly', '2026-11-21T03:15:00Z', 'hourly 2026-11-21 03:00'],
    ['daily', '2026-11-21T23:59:59Z', 'daily 2026-11-21'],
    ['weekly', '2026-11-22T23:59:59Z', 'weekly 2026-W47'],
    ['weekly', '2026-11-23T00:00:00Z', 'weekly 2026-W48'],
    ['weekly', '2027-01-03T12:00:00Z', 'weekly 2026-W53'],
    ['weekly', '2024-12-30T00:00:00Z', 'weekly 2025-W01'],
    ['weekly', '0050-01-03T00:00:00Z', 'weekly 50-W01'],
    ['monthly', '2026-11-21T03:15:00Z', 'monthly 2026-11'],
    ['yearly', '2026-11-21T03:15:00Z', 'yearly 2026'],
    ['yearly', '+012026-11-21T03:15:00Z', 'yearly +012026'],
    ['hourly', '1970-01-01T00:00:00Z', 'hourly 1970-01-01 00:00'],
  ])('%s of %s is %s', (schedule, time, slot) => {
    expect(policyIn({ 'policy.schedule': schedule })?.schedule?.slotAt(Date.parse(time))).toBe(slot);
  });

  test('a period has no gap, and each has one of the longer ones, but weeks', () => {
    const time = fc.integer({ min: -(10 ** 14), max: 10 ** 14 });
    const nested = ['hourly', 'daily', 'monthly', 'yearly'] as const;
    fc.assert(
      fc.property(time, fc.integer({ min: 1, max: 3 * 366 * day }), (early, later) => {
        const [a, b] = [early, early + later];
        for (const period of periods) {
          const middle = Math.floor((a + b) / 2);
          if (periodAt(period, a) === periodAt(period, b))
            expect(periodAt(period, middle)).toBe(periodAt(period, a));
        }
        for (const [index, period] of nested.entries())
          for (const longer of nested.slice(index + 1))
            if (periodAt(longer, a) !== periodAt(longer, b))
              expect(periodAt(period, a)).not.toBe(periodAt(period, b));
        for (const period of periods)
          expect(periodNumber(period, a) === periodNumber(period, b), period).toBe(
            periodAt(period, a) === periodAt(period, b),
          );
        expect(periodAt('weekly', a) === periodAt('weekly', a + 7 * day)).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });
});
