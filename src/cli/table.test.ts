import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Column, table } from './table.ts';

interface Row {
  readonly name: string;
  readonly origin: string;
  readonly size: string;
}

const columns: Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name, shortens: true },
  { title: 'SIZE', value: (row) => row.size, align: 'right', givesWay: 2 },
  { title: 'ORIGIN', value: (row) => row.origin, givesWay: 1, shortens: true },
];

const name = fc.string({ minLength: 1, maxLength: 63, unit: fc.constantFrom('a', 'b', '-', '0') });
/** They differ only where a shortened one has its mark. */
const alike = fc.nat({ max: 99 }).map((number) => `${'a'.repeat(20)}${number}${'b'.repeat(20)}`);
const row = fc.record({
  name: fc.oneof(name, alike),
  origin: name,
  size: fc.constantFrom('1.00 GiB', '512 KiB'),
});
const rows = fc.uniqueArray(row, { minLength: 1, maxLength: 8, selector: (each) => each.name });

test('a table fits its line, or has nothing left but names that would look alike if they were shorter', () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 200 }), (all, width) => {
      const lines = table(all, columns, width).split('\n');
      const longest = Math.max(...lines.map((line) => line.length));
      if (longest > Math.max(width, 12)) expect(lines).toEqual(['NAME', ...all.map((each) => each.name)]);
    }),
  );
});

test('names differ in it, and what is cut bears the mark', () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 200 }), (all, width) => {
      const shown = table(all, columns, width)
        .split('\n')
        .slice(1)
        .map((line) => line.split(' ')[0] ?? '');
      expect(new Set(shown).size).toBe(all.length);
      for (const [index, { name: whole }] of all.entries()) {
        if (shown[index] === whole) continue;
        const [begin = '', end = ''] = shown[index]?.split('…') ?? [];
        expect(shown[index]).toContain('…');
        expect(whole.startsWith(begin) && whole.endsWith(end)).toBe(true);
      }
    }),
  );
});

test('nothing is cut where the line has no end', () => {
  fc.assert(
    fc.property(rows, (all) => {
      const shown = table(all, columns).split('\n').slice(1);
      expect(shown.map((line) => line.split(/ {2,}/))).toEqual(
        all.map((each) => [each.name, each.size, each.origin]),
      );
    }),
  );
});

test('the least important column gives way first', () => {
  const long = [{ name: 'a'.repeat(10), size: '1.00 GiB', origin: `${'o'.repeat(20)}x` }];
  const titles = (width: number): string[] => table(long, columns, width).split('\n')[0]?.split(/ +/) ?? [];
  expect(titles(43)).toEqual(['NAME', 'SIZE', 'ORIGIN']);
  expect(table(long, columns, 36)).toContain('oooooo…ooooox');
  expect(titles(30)).toEqual(['NAME', 'SIZE']);
  expect(titles(19)).toEqual(['NAME']);
});
