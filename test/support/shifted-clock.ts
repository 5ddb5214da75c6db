import { performance } from 'node:perf_hooks';

/** Imported first by a program, and by its threads: their clock is as many milliseconds ahead of the real one as a variable says. */

export const clockVariable = 'COPPICE_TEST_CLOCK';

const shift = Number(process.env[clockVariable] ?? 0);

if (shift !== 0) {
  const RealDate = Date;
  const { timeOrigin } = performance;
  class ShiftedDate extends RealDate {
    constructor(...args: []) {
      if (args.length === 0) super(ShiftedDate.now());
      else super(...args);
    }

    static override now(): number {
      return RealDate.now() + shift;
    }
  }
  globalThis.Date = ShiftedDate as DateConstructor;
  Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin + shift });
}
