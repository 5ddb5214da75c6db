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
  expect(limitsAfter(1.1)).toEqual({ threads: 4, depth: 1 });
  expect(limitsAfter(10)).toEqual({ threads: 8, depth: 1 });
});

test('the first operations share one thread', () => {
  expect(limitsAfter(0, 0)).toEqual({ threads: 1, depth: 5 });
});

test('one that is stuck for a minute spreads the next ones at once, and is soon forgotten', () => {
  const pace = quickPace(8);
  pace.observe(60_000);
  expect(pace.limits()).toEqual({ threads: 8, depth: 1 });
  for (let index = 0; index < 30; index++) pace.observe(0.1);
  expect(pace.limits().threads).toBe(1);
});
