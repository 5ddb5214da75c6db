import { afterEach, expect, test, vi } from 'vitest';
import { timestamp } from './timestamp.ts';

afterEach(() => {
  vi.useRealTimers();
});

test('says the present time, also after the clock was set back', () => {
  vi.useFakeTimers();
  for (const text of ['2026-01-02T03:04:05.006Z', '2026-01-02T03:04:05.007Z', '1970-01-01T00:00:00.000Z']) {
    vi.setSystemTime(new Date(text));
    expect([timestamp(), timestamp()]).toEqual([text, text]);
  }
});
