import { Code } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { Lanes } from './lanes.ts';

const never = new AbortController().signal;

test('so many run at once, in the order in which they came, also after failures', async () => {
  const lanes = new Lanes();
  const begun: number[] = [];
  const ends = Array.from({ length: 6 }, () => Promise.withResolvers<void>());
  const runs = ends.map(({ promise }, index) =>
    lanes.run('lane', 2, never, () => {
      begun.push(index);
      return promise;
    }),
  );
  const other = lanes.run('other', 1, never, async () => 'at once');
  expect(await other).toBe('at once');
  expect(begun).toEqual([0, 1]);
  ends[1]?.reject(new Error('It failed.'));
  await expect(runs[1]).rejects.toThrow('It failed.');
  expect(begun).toEqual([0, 1, 2]);
  for (const { resolve } of ends) resolve();
  await Promise.allSettled(runs);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5]);
  expect(await lanes.run('lane', 2, never, async () => 'free again')).toBe('free again');
});

test('who is cancelled while he waits never begins, and holds up nobody', async () => {
  const lanes = new Lanes();
  const first = Promise.withResolvers<void>();
  const running = lanes.run('lane', 1, never, () => first.promise);
  const controller = new AbortController();
  const cancelled = lanes.run('lane', 1, controller.signal, () => Promise.reject(new Error('It has begun.')));
  const last = lanes.run('lane', 1, never, async () => 'last');
  controller.abort();
  await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
  first.resolve();
  await running;
  expect(await last).toBe('last');
  const gone = AbortSignal.abort();
  await expect(lanes.run('lane', 1, gone, async () => 'no')).rejects.toMatchObject({ code: 'cancelled' });
});

test('only so many wait', () => {
  const lanes = new Lanes();
  for (let count = 0; count < 1001; count++)
    void lanes.run('lane', 1, never, () => new Promise<never>(() => {}));
  expect(() => lanes.requireRoom('lane')).toThrow(expect.objectContaining({ code: Code.ResourceExhausted }));
  lanes.requireRoom('other');
});
