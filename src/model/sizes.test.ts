import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CoppiceError } from './errors.ts';
import { checkSize, formatSize, parseSize, roundSize, sizeUnit } from './sizes.ts';

const largest = 2 ** 53 - sizeUnit;
const bytes = fc.maxSafeNat().filter((value) => value <= largest);

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['512B', 512],
    ['1k', 1024],
    ['10G', 10 * 2 ** 30],
    ['10GiB', 10 * 2 ** 30],
    ['10gib', 10 * 2 ** 30],
    ['10GB', 10 * 10 ** 9],
    ['1.5T', 1.5 * 2 ** 40],
    ['0.1K', 103],
    [' 2M ', 2 * 2 ** 20],
    ['7P', 7 * 2 ** 50],
  ])('%j is %i bytes', (text, expected) => {
    expect(parseSize(text)).toBe(expected);
  });

  test.each([
    '',
    ' ',
    'G',
    '10X',
    '-1G',
    '1e3',
    '0x10',
    '1,5G',
    '10 G',
    '1..5G',
    '.5G',
    '5.G',
    'Infinity',
    'NaN',
    '10GBB',
    '8P',
    '9'.repeat(400),
    '1G\n2G',
    '١G',
  ])('%j is refused', (text) => {
    expect(() => parseSize(text)).toThrow(CoppiceError);
  });

  test('a number of bytes, in digits and with every unit, comes back as it is', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(parseSize(String(value))).toBe(value);
        expect(parseSize(`${value}B`)).toBe(value);
      }),
    );
    fc.assert(
      fc.property(fc.nat({ max: 7 }), fc.constantFrom(...'KMGTP'), (value, unit) => {
        expect(parseSize(`${value}${unit}`)).toBe(parseSize(`${value}${unit}iB`));
        expect(parseSize(`${value}${unit}B`)).toBeLessThanOrEqual(parseSize(`${value}${unit}`));
      }),
    );
  });

  test('whatever is read is a size that can be used', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.stringMatching(/^\d{1,18}(\.\d{1,4})?[KMGTP]?(iB|B)?$/)),
        (text) => {
          let value: number;
          try {
            value = parseSize(text);
          } catch (error) {
            expect(error).toBeInstanceOf(CoppiceError);
            return;
          }
          expect(checkSize(value)).toBe(value);
        },
      ),
    );
  });

  test('what is shown is three digits, within half a percent, and can be read again', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const text = formatSize(value);
        expect(text).toMatch(value < 1024 ? /^\d{1,4} B$/ : /^(\d\.\d\d|\d\d\.\d|\d{3,4}) [KMGTP]iB$/);
        const again =
          Number.parseFloat(text) *
          1024 ** ' KMGTP'.indexOf(text.at(-3) === 'i' ? '' : (text.split(' ')[1]?.[0] ?? ''));
        if (value >= 1024) expect(Math.abs(again - value) / value).toBeLessThan(0.0051);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [10_234, '9.99 KiB'],
    [10_235, '10.0 KiB'],
    [1_048_063, '1023 KiB'],
    [1_048_064, '1.00 MiB'],
    [2 ** 30 - 1, '1.00 GiB'],
    [50 * 2 ** 30, '50.0 GiB'],
    [largest, '8.00 PiB'],
  ])('%i is shown as %s', (value, text) => {
    expect(formatSize(value)).toBe(text);
  });

  test('a volume gets the next whole unit, never less than one, and never less than was asked for', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const rounded = roundSize(value);
        expect(rounded % sizeUnit).toBe(0);
        expect(rounded).toBeGreaterThanOrEqual(Math.max(value, sizeUnit));
        expect(rounded - value).toBeLessThanOrEqual(sizeUnit);
        expect(roundSize(rounded)).toBe(rounded);
        expect(checkSize(rounded)).toBe(rounded);
      }),
    );
  });

  test('what is no whole number of bytes is refused', () => {
    for (const value of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, largest + 1, 2 ** 53])
      expect(() => checkSize(value)).toThrow(CoppiceError);
  });
});
