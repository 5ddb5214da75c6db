import { expect, test } from 'vitest';
import { quickPace } from './quick-pace.ts';

function limitsAfter(
  milliseconds: number,
  count = 100,
): { readonly threads: number; readonly depth: number } {
  const pace = quickPace(8);
  for (let index = 0; index < count; index++) pace.observe(milliseconds);
  return pace.limits();
}

test('what computes gets one thread with much to do, what waits many threads with one each', () => {
  expect(limitsAfter(0.1)).toEqual({ threads: 1, depth: 8 });
  expect(limitsAfter(1.1)).toEqual({ threads: 2, depth: 1 });
  expect(limitsAfter(10)).toEqual({ threads: 8, depth: 1 });
});

test('tells about how long they take', () => {
  const pace = quickPace(8);
  for (let index = 0; index < 100; index++) pace.observe(0.5);
  expect(pace.usual()).toBeGreaterThan(0.4);
  expect(pace.usual()).toBeLessThan(0.6);
});

test('the first operations share one thread', () => {
  expect(limitsAfter(0, 0)).toEqual({ threads: 1, depth: 8 });
});

test('a few that are stuck change little', () => {
  const pace = quickPace(8);
  for (let index = 0; index < 100; index++) pace.observe(index % 4 === 0 ? 60_000 : 0.1);
  expect(pace.limits()).toEqual({ threads: 1, depth: 8 });
});
