import fc from 'fast-check';
import { expect, test } from 'vitest';
import { progressText } from './progress-text.ts';

const since = { step: 'cloning', fraction: 0.1, done: 100, total: 1000, at: 5000 };

test('always fits its line, and always says how far it is where there is room for that', () => {
  const progress = fc.record({
    step: fc.constantFrom('cloning', 'waiting'),
    fraction: fc.double({ min: 0, max: 1, noNaN: true }),
    done: fc.nat(),
    total: fc.nat(),
  });
  const what = fc.string({ minLength: 1, maxLength: 80 });
  fc.assert(
    fc.property(what, progress, fc.integer({ min: 1, max: 250 }), fc.nat(), (name, shown, width, later) => {
      const text = progressText(name, shown, since, { now: since.at + later, width });
      expect(text.length).toBeLessThan(width);
      if (width > name.length + 20) expect(text).toContain(`${Math.floor(shown.fraction * 100)}%`);
    }),
  );
});

test.each([
  [200, 'clone base: cloning [###############               ]  50%  0:05 left  500 of 1,000  100/s'],
  [80, 'clone base: cloning [##########          ]  50%  0:05 left  500 of 1,000  100/s'],
  [40, 'clone base: cloning  50%  0:05 left'],
  [20, 'clone base: c…  50%'],
])('at %i columns: %s', (width, text) => {
  const half = { step: 'cloning', fraction: 0.5, done: 500, total: 1000 };
  expect(progressText('clone base', half, since, { now: since.at + 4000, width })).toBe(text);
});

test('says nothing of rate and time before they were measured', () => {
  const later = { ...since, fraction: 0.2, done: 200 };
  const text = (now: number, progress = later): string =>
    progressText('x', progress, since, { now, width: 200 });
  expect(text(since.at + 10)).not.toMatch(/left|\/s/);
  expect(text(since.at + 5000, since)).not.toMatch(/left|\/s/);
  expect(text(since.at + 4000)).toMatch(/0:32 left {2}200 of 1,000 {2}25\/s$/);
  expect(
    progressText(
      'x',
      { step: 'copying', fraction: 0.2 },
      { ...since, fraction: 0.1 },
      { now: since.at + 500_000, width: 99 },
    ),
  ).toMatch(/1:06:40 left$/);
});
