import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Settings } from '../../../model/settings.ts';
import { periodAt, periods } from './calendar.ts';
import { type Decisions, decide } from './decide.ts';
import { policyIn } from './policy.ts';
import { inOrder, type KnownSnapshot, keyOf, type PolicySnapshot, type Situation } from './situation.ts';

const minute = 60 * 1000;
const hour = 60 * minute;
const day = 24 * hour;
const now = Date.parse('2026-11-21T03:00:00Z');
const roomy = { totalBytes: 100, freeBytes: 50 };

let count = 0;
function snapshot(created: number, generation: number, more: Partial<KnownSnapshot> = {}): PolicySnapshot {
  const known = {
    id: `id-${++count}`,
    reason: 'policy',
    created,
    generation: BigInt(generation),
    ...more,
  } as const;
  return { name: `s-${generation}`, known };
}

interface Given {
  readonly settings?: Settings;
  readonly snapshots: readonly PolicySnapshot[];
  readonly at?: number;
  readonly runs?: readonly number[];
  readonly space?: Situation['space'];
}

function situationOf({ settings, snapshots, at = now, runs = [], space = roomy }: Given): Situation {
  return {
    volumes: [{ name: 'v', policy: policyIn(settings), snapshots }],
    now: at,
    runs,
    space,
  };
}

function going({ decisions }: Decisions): string[] {
  return decisions.filter(({ goes }) => goes).map(({ name }) => name);
}

function staying({ decisions }: Decisions): string[] {
  return decisions.filter(({ goes }) => !goes).map(({ name }) => name);
}

function reasonsOf({ decisions }: Decisions, name: string): readonly string[] | undefined {
  return decisions.find((each) => each.name === name)?.reasons;
}

/** As it is after what went is gone. */
function applied(situation: Situation, decided: Decisions): Situation {
  const gone = new Set(decided.decisions.filter(({ goes }) => goes).map(keyOf));
  const volumes = situation.volumes.map((volume) => ({
    ...volume,
    snapshots: volume.snapshots.filter(({ name }) => !gone.has(keyOf({ volume: volume.name, name }))),
  }));
  return { ...situation, volumes };
}

const policySettings = fc
  .record(
    {
      last: fc.nat(5),
      hourly: fc.nat(30),
      daily: fc.nat(10),
      weekly: fc.nat(5),
      monthly: fc.nat(5),
      yearly: fc.nat(3),
      'keep-at-least': fc.nat(4),
      'max-age': fc.constantFrom('1h', '12h', '3d', '2w', '90d', '1y'),
      'min-free': fc.constantFrom('10%', '90%', '60', '0'),
    },
    { requiredKeys: [] },
  )
  .map((fields) =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [`policy.${name}`, String(value)])),
  );

/** Whatever clocks may have said. */
const stamp = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: now - 400 * day, max: now }) },
  { weight: 2, arbitrary: fc.integer({ min: now - 2 * day, max: now }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 10 * day }) },
  { weight: 1, arbitrary: fc.integer({ min: now, max: now + 60 * 365 * day }) },
  { weight: 1, arbitrary: fc.constant(Number.NaN) },
);

const known = fc.record({
  created: stamp,
  generation: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 60 }) }, fc.constant(0)),
  reason: fc.oneof(
    { weight: 6, arbitrary: fc.constant('policy' as const) },
    fc.constantFrom('user', 'rollback', 'of a newer version' as 'user'),
  ),
  hold: fc.option(fc.constant({ at: 'a', reason: 'audit' }), { nil: undefined, freq: 8 }),
  expires: fc.option(stamp, { nil: undefined, freq: 4 }),
  verified: fc.option(
    fc.constantFrom('passed' as const, 'failed' as const).map((result) => ({ at: 'a', result, checks: [] })),
    { nil: undefined, freq: 4 },
  ),
  group: fc.option(fc.constantFrom('g-1', 'g-2', 'g-3'), { nil: undefined, freq: 6 }),
  neededBy: fc.option(fc.constantFrom(['clone'], []), { nil: undefined, freq: 6 }),
});

const volume = fc
  .tuple(
    fc.constantFrom('a', 'b'),
    fc.option(policySettings, { nil: undefined, freq: 6 }),
    fc.array(fc.option(known, { nil: undefined, freq: 20 }), { maxLength: 40 }),
  )
  .map(([name, settings, all]) => ({
    name,
    settings,
    policy: policyIn(settings),
    snapshots: all.map((each, index): PolicySnapshot => {
      const fields =
        each && Object.fromEntries(Object.entries(each).filter(([, value]) => value !== undefined));
      const own = fields && {
        ...(fields as typeof each),
        id: `${index}`,
        generation: BigInt(each?.generation ?? 0),
      };
      return { name: `s-${index}`, known: own as KnownSnapshot | undefined };
    }),
  }));

const situation = fc.record({
  volumes: fc.uniqueArray(volume, { selector: ({ name }) => name, minLength: 1, maxLength: 2 }),
  now: fc.oneof({ weight: 4, arbitrary: fc.constant(now) }, stamp.filter(Number.isFinite)),
  runs: fc.array(stamp.filter(Number.isFinite), { maxLength: 2 }),
  space: fc.constantFrom(roomy, { totalBytes: 100, freeBytes: 5 }),
});

describe('a decision', () => {
  test('never lets go what is protected, or what is not its own', () => {
    fc.assert(
      fc.property(situation, (given) => {
        const decided = decide(given);
        for (const { name, policy, snapshots } of given.volumes) {
          const ordered = inOrder(snapshots);
          const proven = ordered.findLast(({ verified }) => verified?.result === 'passed')?.name;
          const own = ordered.filter(({ reason }) => reason === 'policy').map((each) => each.name);
          const newest = policy ? own.slice(-policy.keepAtLeast) : own;
          for (const { name: snapshotName, known: about } of snapshots) {
            const key = keyOf({ volume: name, name: snapshotName });
            const mustStay =
              !about ||
              about.hold !== undefined ||
              (about.neededBy?.length ?? 0) > 0 ||
              about.generation === 0n ||
              !Number.isFinite(about.created) ||
              snapshotName === proven ||
              (newest.includes(snapshotName) && about.expires === undefined) ||
              (about.reason !== 'policy' && about.expires === undefined);
            const all = decided.decisions.filter((each) => keyOf(each) === key);
            expect(all, key).toHaveLength(1);
            if (mustStay) expect(all[0]?.goes, key).toBe(false);
            if (mustStay && about?.hold) expect(decided.underPressure.map(keyOf), key).not.toContain(key);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('made twice lets nothing more go', () => {
    fc.assert(
      fc.property(situation, (given) => {
        expect(going(decide(applied(given, decide(given))))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  test('leaves as many as are to be left at least, also when all that may yield has yielded', () => {
    fc.assert(
      fc.property(situation, (given) => {
        const left = applied(given, decide(given));
        const yielded = new Set(decide(left).underPressure.map(keyOf));
        for (const { name, policy, snapshots } of left.volumes) {
          if (!policy) continue;
          const before = given.volumes.find((each) => each.name === name);
          const own = (all: readonly PolicySnapshot[]): number =>
            inOrder(all).filter(({ reason, expires }) => reason === 'policy' && expires === undefined).length;
          const remaining = snapshots.filter(
            (each) => !yielded.has(keyOf({ volume: name, name: each.name })),
          );
          const expiring = inOrder(before?.snapshots ?? []).filter(
            ({ expires }) => expires !== undefined,
          ).length;
          expect(own(remaining)).toBeGreaterThanOrEqual(
            Math.min(own(before?.snapshots ?? []), policy.keepAtLeast - expiring),
          );
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('lets a part go with what it is a part of, whatever its own volume says, and never before', () => {
    const hold = { at: new Date(now).toISOString() };
    for (const own of [undefined, { 'policy.last': '1' }])
      for (const isHeld of [false, true]) {
        const part = (generation: number): PolicySnapshot =>
          snapshot(now - hour / generation, generation, {
            group: `g-${generation}`,
            isPart: true,
            ...(isHeld && generation === 1 && { hold }),
          });
        const led = [1, 2].map((each) => snapshot(now - hour / each, each, { group: `g-${each}` }));
        const volumes = [
          { name: 'db', policy: policyIn({ 'policy.last': '1' }), snapshots: led },
          { name: 'far', policy: policyIn(own), snapshots: [part(1), part(2), snapshot(now, 3)] },
        ];
        const gone = decide({ volumes, now, runs: [], space: roomy }).decisions.filter(({ goes }) => goes);
        expect(gone.map(keyOf)).toEqual(isHeld ? [] : ['db@s-1', 'far@s-1']);
      }
  });

  test('lets go all of a group, or nothing of it', () => {
    fc.assert(
      fc.property(situation, (given) => {
        const decided = new Map(decide(given).decisions.map((each) => [keyOf(each), each.goes]));
        const fates = new Map<string, boolean>();
        for (const { name: volumeName, snapshots } of given.volumes)
          for (const { name, known: about } of snapshots) {
            if (about?.group === undefined) continue;
            const goes = decided.get(keyOf({ volume: volumeName, name })) ?? false;
            expect(fates.get(about.group) ?? goes, about.group).toBe(goes);
            fates.set(about.group, goes);
          }
      }),
      { numRuns: 1000 },
    );
  });

  test('keeps no less when a number is larger', () => {
    const numbers = ['last', ...periods] as const;
    fc.assert(
      fc.property(
        situation,
        fc.constantFrom(...numbers),
        fc.integer({ min: 1, max: 5 }),
        (given, name, more) => {
          const volumes = given.volumes.map((each) => {
            const { 'policy.max-age': _, ...settings } = each.settings ?? {};
            // Where no number is set, all are kept.
            return { ...each, settings: { 'policy.last': '1', ...settings } };
          });
          const withNumbers = (extra: number): Situation => ({
            ...given,
            volumes: volumes.map((each) => {
              const key = `policy.${name}`;
              const settings: Record<string, string> = { ...each.settings };
              settings[key] = String(Number(settings[key] ?? 0) + extra);
              return { ...each, policy: policyIn(settings) };
            }),
          });
          const keys = (decided: Decisions): string[] =>
            decided.decisions.filter(({ goes }) => !goes).map(keyOf);
          const kept = keys(decide(withNumbers(more)));
          const zero = withNumbers(0);
          // All numbers may be zero only where none is set.
          if (
            zero.volumes.some(
              ({ policy }) => policy?.last === 0 && periods.every((each) => policy.keep[each] === 0),
            )
          )
            return;
          expect(kept).toEqual(expect.arrayContaining(keys(decide(zero))));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('under a clock that is right keeps the newest of each of the newest periods', () => {
    const rising = fc.array(fc.integer({ min: 1, max: 40 * hour }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(policySettings, rising, ({ 'policy.max-age': _, ...settings }, steps) => {
        const policy = policyIn({ ...settings, 'policy.daily': '3' });
        let time = now - 90 * day;
        const snapshots = steps.map((step, index) => {
          time += step;
          return snapshot(time, index + 1);
        });
        const expected = new Set(
          [...snapshots].reverse().slice(0, Math.max(policy?.last ?? 0, policy?.keepAtLeast ?? 0)),
        );
        for (const period of periods) {
          const newest = new Map(
            snapshots.map((each) => [periodAt(period, each.known?.created ?? 0), each] as const),
          );
          for (const each of [...newest.values()].reverse().slice(0, policy?.keep[period]))
            expected.add(each);
        }
        const situationNow = { ...situationOf({ snapshots }), volumes: [{ name: 'v', policy, snapshots }] };
        expect(new Set(staying(decide(situationNow)))).toEqual(
          new Set([...expected].map(({ name }) => name)),
        );
      }),
      { numRuns: 500 },
    );
  });

  test('says why each stays and why each goes', () => {
    const settings = { 'policy.hourly': '2', 'policy.daily': '2', 'policy.max-age': '30d' };
    const snapshots = [
      snapshot(now - 40 * day, 1),
      snapshot(now - 39 * day, 2, { hold: { at: 'a', reason: 'the auditors' } }),
      snapshot(now - 3 * day, 3, { verified: { at: 'a', result: 'passed', checks: [] } }),
      snapshot(now - 3 * day, 4, { reason: 'user' }),
      snapshot(now - 3 * day, 5, { reason: 'rollback' }),
      snapshot(now - 3 * day, 6, { reason: 'user', expires: now - day }),
      snapshot(now - 27 * hour, 7),
      snapshot(now - 2 * hour, 8),
      snapshot(now - hour, 9),
      snapshot(now, 10),
      { name: 'lost', known: undefined },
    ];
    const decided = decide(situationOf({ settings, snapshots }));
    const table = decided.decisions.map(({ name, goes, reasons }) => [name, goes, ...reasons]);
    expect(table).toEqual([
      ['lost', false, "its metadata can't be read"],
      ['s-1', true, 'older than 30d'],
      ['s-2', false, 'held: the auditors'],
      ['s-3', false, 'newest verified'],
      ['s-4', false, 'taken by hand'],
      ['s-5', false, 'kept by a rollback'],
      ['s-6', true, 'expired 2026-11-20T03:00Z'],
      ['s-7', false, 'daily 2026-11-20'],
      ['s-8', true, 'over 2 hourly, 2 daily'],
      ['s-9', false, 'hourly 2026-11-21 02:00'],
      ['s-10', false, 'the newest', 'hourly 2026-11-21 03:00', 'daily 2026-11-21'],
    ]);
  });
});

describe('space', () => {
  const settings = {
    'policy.hourly': '3',
    'policy.monthly': '2',
    'policy.min-free': '10%',
    'policy.keep-at-least': '2',
  };
  const snapshots = [
    snapshot(now - 40 * day, 1),
    snapshot(now - 21 * day - hour, 2),
    snapshot(now - 2 * hour, 3, { hold: { at: 'a' } }),
    snapshot(now - hour - minute, 4),
    snapshot(now - hour, 5),
    snapshot(now - minute, 6),
    snapshot(now, 7),
  ];
  const short = { totalBytes: 1000, freeBytes: 99 };

  test('is not wanted from what is kept as long as there is enough', () => {
    const enough = { totalBytes: 1000, freeBytes: 100 };
    expect(decide(situationOf({ settings, snapshots, space: enough })).underPressure).toEqual([]);
  });

  test('is taken from the least important first, the oldest of them first, and never from the newest or a held one', () => {
    const decided = decide(situationOf({ settings, snapshots, space: short }));
    expect(going(decided)).toEqual(['s-1', 's-5']);
    expect(decided.underPressure.map(({ name }) => name)).toEqual(['s-4', 's-2']);
  });
});

describe('a year of hours', () => {
  const settings = {
    'policy.hourly': '24',
    'policy.daily': '7',
    'policy.weekly': '4',
    'policy.monthly': '12',
    'policy.yearly': '2',
    'policy.max-age': '300d',
  };

  interface Clock {
    /** What the clock says at a moment. */
    readonly says: (time: number) => number;
    readonly isAsleep?: (time: number) => boolean;
  }

  /** Takes what is due and lets go what is over, every half hour, and shows what is left. */
  function live(
    begin: number,
    days: number,
    clock: Clock,
    seen: (left: readonly PolicySnapshot[], time: number) => void,
  ): void {
    let left: readonly PolicySnapshot[] = [];
    const policy = policyIn(settings);
    let generation = 0;
    let last: number | undefined;
    for (let time = begin; time < begin + days * day; time += 30 * minute) {
      if (clock.isAsleep?.(time)) continue;
      const at = clock.says(time);
      const slot = policy?.schedule?.slotAt;
      if (last === undefined || slot?.(last) !== slot?.(at)) {
        left = [...left, snapshot(at, ++generation, { id: String(time) })];
        last = at;
      } else {
        seen(left, time);
        continue;
      }
      const given = { volumes: [{ name: 'v', policy, snapshots: left }], now: at, runs: [], space: roomy };
      left = applied(given, decide(given)).volumes[0]?.snapshots ?? [];
      seen(left, time);
    }
  }

  const names = (left: readonly PolicySnapshot[]): string[] => left.map(({ name }) => name);

  const rightClock: Clock = { says: (time) => time };
  const begin = Date.parse('2026-01-01T00:00:00Z');

  test('keeps what it says at every moment', () => {
    const missing: string[] = [];
    live(begin, 366, rightClock, (left, time) => {
      if (time % (5 * hour) !== 0) return;
      const times = left.map(({ known: about }) => about?.created ?? 0);
      const since = Math.floor((time - begin) / hour) + 1;
      const hours = new Set(times.map((each) => periodAt('hourly', each)));
      const days = new Set(times.map((each) => periodAt('daily', each)));
      const months = new Set(times.map((each) => periodAt('monthly', each)));
      const wanted = [
        ...Array.from(
          { length: Math.min(24, since) },
          (_, back) => ['hourly', time - back * hour, hours] as const,
        ),
        ...Array.from(
          { length: Math.min(7, since / 24) },
          (_, back) => ['daily', time - back * day, days] as const,
        ),
        ...Array.from(
          { length: Math.min(9, since / 24 / 31) },
          (_, back) => ['monthly', time - back * 30 * day, months] as const,
        ),
      ];
      for (const [period, at, kept] of wanted)
        if (!kept.has(periodAt(period, at)))
          missing.push(`${new Date(time).toISOString()}: ${periodAt(period, at)}`);
      if (left.length > 24 + 7 + 4 + 12 + 2) missing.push('room');
    });
    expect(missing).toEqual([]);
  });

  test('is the same in every zone, over both changes of its clocks', () => {
    const inZone = (zone: string): readonly string[][] => {
      const before = process.env['TZ'];
      process.env['TZ'] = zone;
      try {
        expect(new Date(begin).getHours() === 0, 'the zone counts').toBe(zone === 'UTC');
        const seen: string[][] = [];
        live(Date.parse('2026-03-20T00:00:00Z'), 12, rightClock, (left) => seen.push(names(left)));
        live(Date.parse('2026-10-20T00:00:00Z'), 20, rightClock, (left) => seen.push(names(left)));
        return seen;
      } finally {
        if (before === undefined) delete process.env['TZ'];
        else process.env['TZ'] = before;
      }
    };
    const utc = inZone('UTC');
    for (const zone of ['Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe'])
      expect(inZone(zone), zone).toEqual(utc);
  });

  test('a host that was asleep takes one snapshot when it wakes, which takes the place of one of each number', () => {
    const isAsleep = (time: number): boolean => time > begin + 30 * day && time < begin + 75 * day;
    let before: string[] = [];
    let after: string[] | undefined;
    live(begin, 76, { ...rightClock, isAsleep }, (left, time) => {
      if (time <= begin + 30 * day) before = names(left);
      else after ??= names(left);
    });
    expect(after?.filter((name) => !before.includes(name))).toHaveLength(1);
    expect(before.filter((name) => !after?.includes(name)).length).toBeLessThanOrEqual(periods.length);
  });

  const glitches = fc.record({
    start: fc.integer({ min: 24 * 12, max: 24 * 20 }),
    hours: fc.integer({ min: 1, max: 20 }),
    shift: fc.oneof(
      fc.constantFrom(-56 * 365 * day, 54 * 365 * day, 400 * day, -400 * day, 20 * day),
      fc.integer({ min: -60 * minute, max: 60 * minute }),
    ),
  });

  test('a clock that is wrong for some hours costs no more than what those hours add', () => {
    fc.assert(
      fc.property(fc.array(glitches, { minLength: 1, maxLength: 2 }), (wrong) => {
        const says = (time: number): number => {
          const at = (time - begin) / hour;
          const now = wrong.find(({ start, hours }) => at >= start && at < start + hours);
          return time + (now?.shift ?? 0);
        };
        const right: string[][] = [];
        live(begin, 22, rightClock, (left) => right.push(left.map(({ known: about }) => about?.id ?? '')));
        const worst = { lost: 0, allowed: 0 };
        let index = 0;
        live(begin, 22, { says }, (left, time) => {
          const ids = new Set(left.map(({ known: about }) => about?.id));
          const lost = (right[index++] ?? []).filter((id) => !ids.has(id)).length;
          const begun = wrong.filter(({ start }) => time >= begin + start * hour);
          // Each wrong hour is one of the 24, and makes a day, a week, a month and a year of its own; so does the return.
          const allowed = begun.reduce((sum, { hours }) => sum + Math.min(24, hours + 1) + 8, 0);
          if (lost - allowed > worst.lost - worst.allowed) Object.assign(worst, { lost, allowed });
        });
        expect(worst.lost).toBeLessThanOrEqual(worst.allowed);
      }),
      { numRuns: 12 },
    );
  });
});

describe('a clock that is wrong', () => {
  const settings = { 'policy.max-age': '30d' };
  const year = 365 * day;
  const history = Array.from({ length: 60 }, (_, index) => snapshot(now - (60 - index) * hour, index + 1));
  const manual = snapshot(now - 40 * hour, 70, { reason: 'user', expires: now + 5 * day });
  const all = [...history, manual];
  const decideAt = (
    at: number,
    snapshots: readonly PolicySnapshot[],
    runs: readonly number[] = [],
  ): Decisions => decide(situationOf({ settings, snapshots, at, runs }));

  test('far ahead removes nothing for its age, not for a day', () => {
    for (const ahead of [31 * day, year, 54 * year]) {
      expect(going(decideAt(now + ahead, all))).toEqual([]);
      const since = [...all, snapshot(now + ahead, 80), snapshot(now + ahead + 23 * hour, 81)];
      expect(going(decideAt(now + ahead + 23 * hour, since))).toEqual([]);
      // Who has slept so long is believed the next day.
      expect(going(decideAt(now + ahead + 25 * hour, since)).length).toBe(all.length);
    }
  });

  test('that was far ahead once is not believed for that, and what it has stamped goes when its time has come', () => {
    const future = snapshot(now + 54 * year, 80);
    const since = [...all, future, snapshot(now + hour, 81), snapshot(now + 30 * hour, 82)];
    expect(going(decideAt(now + 30 * hour, since))).toEqual([]);
    expect(going(decideAt(now + 54 * year, since))).toEqual([]);
    const later = [...since, snapshot(now + 40 * day, 83), snapshot(now + 45 * day, 84)];
    expect(going(decideAt(now + 45 * day, later))).toContain('s-80');
  });

  test('behind the newest removes nothing for its age, and says so', () => {
    const aged = { 'policy.max-age': '1d' };
    const older = (at: number): Decisions => decide(situationOf({ settings: aged, snapshots: history, at }));
    expect(going(older(now)).length, 'there is something to remove').toBeGreaterThan(20);
    for (const at of [0, hour, now - year, now - 2 * hour]) {
      const decided = older(at);
      expect(going(decided)).toEqual([]);
      expect(decided.warnings.join()).toContain('but v@s-60, the last that was taken, is of');
    }
  });

  test('leaves what is judged by what goes to the same application, and not to the next', () => {
    const limits = { 'policy.last': '2', 'policy.max-age': '10d' };
    const snapshots = [snapshot(now - 5 * day, 1), snapshot(hour, 2), snapshot(now, 3)];
    const given = situationOf({ settings: limits, snapshots, runs: [now - day] });
    expect(going(decide(given))).toEqual(['s-1', 's-2']);
    expect(going(decide(applied(given, decide(given))))).toEqual([]);
  });

  test('at 1970 for a while does not make what it has stamped old', () => {
    const young = [snapshot(hour, 80), snapshot(2 * hour, 81)];
    const since = [...history, ...young, snapshot(now + 3 * hour, 82), snapshot(now + 30 * hour, 83)];
    expect(going(decideAt(now + 30 * hour, since))).toEqual([]);
  });

  test('when policies were applied is a witness where no snapshot is', () => {
    const only = [snapshot(now - 8 * day, 1, { reason: 'user', expires: now - day })];
    expect(going(decide(situationOf({ snapshots: only })))).toEqual([]);
    expect(going(decide(situationOf({ snapshots: only, runs: [now - 30 * hour] })))).toEqual(['s-1']);
    expect(going(decide(situationOf({ snapshots: only, runs: [now - hour] })))).toEqual([]);
  });

  test('makes rows of its own of what is taken meanwhile, and never lets the newest go', () => {
    const numbers = { 'policy.hourly': '3' };
    // Started three times without a battery: each time at 1970.
    const boots = [0, hour, 0, hour, 0].map((at, index) => snapshot(at, index + 1));
    expect(staying(decide(situationOf({ settings: numbers, snapshots: boots, at: 0 })))).toEqual([
      's-3',
      's-4',
      's-5',
    ]);
  });
});

describe('reasons', () => {
  test('of a snapshot whose policy is gone, and without any number', () => {
    const snapshots = [snapshot(now - day, 1), snapshot(now, 2)];
    expect(reasonsOf(decide(situationOf({ snapshots })), 's-1')).toEqual(['no policy is set any more']);
    const unlimited = decide(situationOf({ snapshots, settings: { 'policy.schedule': 'hourly' } }));
    expect(reasonsOf(unlimited, 's-1')).toEqual(['no number is set']);
    const aged = decide(situationOf({ snapshots, settings: { 'policy.max-age': '9d' } }));
    expect(reasonsOf(aged, 's-1')).toEqual(['not older than 9d']);
  });
});
