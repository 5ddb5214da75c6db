import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventLog } from './event-log.ts';

const never = new AbortController().signal;

describe('the log of events', () => {
  test('gives each reader everything from his place on, in order, or tells him that it can not', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 1, max: 9000 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(steps, (each) => {
        const log = new EventLog<number>();
        let place = 0;
        let next = 0;
        for (const [written, most] of each) {
          for (let count = 0; count < written; count++) log.append(next++);
          const events = log.read(place, most);
          if (next - place > 32_768) {
            expect(events).toBeUndefined();
            expect(log.placeOf(log.versionOf(place))).toBeUndefined();
            place = next;
          } else {
            expect(events).toEqual(
              Array.from({ length: Math.min(most, next - place) }, (_, index) => place + index),
            );
            expect(log.placeOf(log.versionOf(place))).toBe(place);
            place += events?.length ?? 0;
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  test('knows no versions of another run, and none from the future', () => {
    const [log, other] = [new EventLog<number>(), new EventLog<number>()];
    log.append(1);
    expect(log.placeOf(log.versionOf(1))).toBe(1);
    for (const unknown of [log.versionOf(2), log.versionOf(-1), other.versionOf(0), '', '.', 'a.b', '0.0'])
      expect(log.placeOf(unknown), unknown).toBeUndefined();
  });

  test('wakes who waits, once for what comes together, and forgets who has left', async () => {
    const log = new EventLog<number>();
    const waiting = log.waitFor(0, 60_000, never);
    log.append(1);
    log.append(2);
    await waiting;
    expect(log.read(0, 10)).toEqual([1, 2]);
    const leaving = new AbortController();
    const left = log.waitFor(2, 60_000, leaving.signal);
    leaving.abort();
    await left;
    await log.waitFor(2, 1, never);
    await log.waitFor(0, 60_000, never);
  });

  test('tells everybody to begin anew when it is not known what has happened', async () => {
    const log = new EventLog<number>();
    log.append(1);
    const behind = log.versionOf(0);
    const upToDate = log.versionOf(1);
    const waiting = log.waitFor(1, 60_000, never);
    log.restart();
    await waiting;
    expect([log.read(0, 10), log.read(1, 10)]).toEqual([undefined, undefined]);
    expect([log.placeOf(behind), log.placeOf(upToDate)]).toEqual([undefined, undefined]);
    const place = log.next;
    log.append(2);
    expect(log.read(place, 10)).toEqual([2]);
  });
});
