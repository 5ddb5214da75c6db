import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Ring, ringBuffer } from './ring.ts';

const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.integer({ min: 0, max: 30_000 }).map((length) => 'x'.repeat(length)),
);

test('gives out what was put in, in order, and refuses what it has no room for', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(text, fc.constant(undefined)), { maxLength: 300 }), (steps) => {
      const shared = ringBuffer();
      const [writer, reader] = [new Ring(shared), new Ring(shared)];
      const expected: string[] = [];
      for (const step of steps) {
        if (step === undefined) {
          expect(reader.read()).toBe(expected.shift());
          continue;
        }
        const state = writer.write(step);
        if (state !== 'full') expected.push(step);
        // Half of it is always enough for one message of three bytes a character, and none is refused while it is empty.
        else expect(expected.length + Number(step.length * 3 > 2 ** 15)).toBeGreaterThan(0);
      }
      for (const each of expected) expect(reader.read()).toBe(each);
      expect(reader.read()).toBeUndefined();
    }),
  );
});

test('says whether the reader has to be woken, and to one writer only', () => {
  const shared = ringBuffer();
  const [writer, reader] = [new Ring(shared), new Ring(shared)];
  expect(writer.write('a')).toBe('asleep');
  expect(writer.write('b')).toBe('awake');
  expect(reader.sleep(), 'with something to read').toBe(false);
  expect([reader.read(), reader.read(), reader.read()]).toEqual(['a', 'b', undefined]);
  expect(reader.sleep()).toBe(true);
  expect(writer.write('c')).toBe('asleep');
  expect(writer.write('x'.repeat(2 ** 16))).toBe('full');
  expect(reader.read()).toBe('c');
});

test('loses nothing and leaves nobody asleep between two threads that sleep and wake all the time', async () => {
  const shared = ringBuffer();
  const many = 100_000;
  const writing = new Worker(
    `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.module).then(({ Ring }) => {
        const ring = new Ring(workerData.shared);
        const positions = new Int32Array(workerData.shared, 0, 2);
        for (let number = 0; number < ${many}; ) {
          const state = ring.write(String(number).padEnd(number % 300, '.'));
          if (state === 'full') continue;
          if (state === 'asleep') parentPort.postMessage('');
          number++;
          // The next one comes when the reader has read all and is about to sleep.
          if (number % 3 === 0) while (Atomics.load(positions, 0) !== Atomics.load(positions, 1));
        }
      });
    `,
    { eval: true, workerData: { shared, module: new URL('./ring.ts', import.meta.url).href } },
  );
  const reader = new Ring(shared);
  let [next, bells] = [0, 0];
  const received = new Promise<void>((resolve) => {
    writing.on('message', () => {
      bells++;
      do
        for (let each = reader.read(); each !== undefined; each = reader.read()) {
          if (each !== String(next).padEnd(next % 300, '.'))
            throw new Error(`${each} in the place of ${next}`);
          next++;
        }
      while (!reader.sleep());
      if (next === many) resolve();
    });
  });
  await Promise.all([received, once(writing, 'exit')]);
  expect(next).toBe(many);
  expect(bells).toBeGreaterThan(10);
  expect(reader.read()).toBeUndefined();
});
