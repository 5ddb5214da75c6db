import { printable } from '../model/printable.ts';

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
  readonly align?: 'left' | 'right';
}

/** Rows under titles, as wide as their widest value. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const cells = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => printable(column.value(row)))),
  ];
  const widths = columns.map((_, index) =>
    cells.reduce((width, line) => Math.max(width, line[index]?.length ?? 0), 0),
  );
  return cells
    .map((line) =>
      line
        .map((cell, index) =>
          columns[index]?.align === 'right'
            ? cell.padStart(widths[index] ?? 0)
            : cell.padEnd(widths[index] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Names and values, one pair a line. */
export function properties(pairs: ReadonlyArray<readonly [name: string, value: string | undefined]>): string {
  const shown = pairs.filter(([, value]) => value !== undefined);
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value}`).join('\n');
}

/** A number with its word: `1 extent`, `2 extents`. */
export function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** Says that a size is not the one that was asked for. */
export function roundedNote(roundedFrom: number | undefined): string {
  return roundedFrom === undefined ? '' : ` (rounded up from ${counted(roundedFrom, 'byte')})`;
}
