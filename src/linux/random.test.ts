import { expect, test } from 'vitest';
import { formatUuid, randomId } from './random.ts';

test('ids are version 4 UUIDs, none twice, also when the random numbers are fetched anew', () => {
  const ids = Array.from({ length: 1000 }, randomId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('every digit of an id but the version and the variant takes every value', () => {
  const digits = Array.from({ length: 2000 }, () => randomId().replaceAll('-', ''));
  for (let at = 0; at < 32; at++) {
    const values = new Set(digits.map((each) => each[at]));
    expect(values.size, `digit ${at}`).toBe(at === 12 ? 1 : at === 16 ? 4 : 16);
  }
});

test('sixteen bytes are written in the usual notation', () => {
  const bytes = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
  expect(formatUuid(bytes)).toBe('00112233-4455-6677-8899-aabbccddeeff');
});
