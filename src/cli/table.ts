import { printable } from '../model/printable.ts';
import { formatSize } from '../model/sizes.ts';
import { fitted, gap } from './fitted.ts';

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
  readonly align?: 'left' | 'right';
  /** Where not all columns fit, the one with the lowest number gives way first; one without a number never does. */
  readonly givesWay?: number;
  /** Its values still tell something when their middle is left out. */
  readonly shortens?: true;
}

/**
 * Rows under titles, as wide as their widest value.
 * @param width what a line may hold; nothing is left out or shortened without it
 */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], width?: number): string {
  const cells = columns.map((column) => [column.title, ...rows.map((row) => printable(column.value(row)))]);
  const shown = fitted(
    columns.map((column, index) => ({ ...column, cells: cells[index] ?? [] })),
    width,
  ).map(({ cells: own, align }) => {
    const widest = own.reduce((most, cell) => Math.max(most, cell.length), 0);
    return own.map((cell) => (align === 'right' ? cell.padStart(widest) : cell.padEnd(widest)));
  });
  return [undefined, ...rows]
    .map((_, line) =>
      shown
        .map((own) => own[line])
        .join(gap)
        .trimEnd(),
    )
    .join('\n');
}

/** Names and values, one pair a line. */
export function properties(pairs: ReadonlyArray<readonly [name: string, value: string | undefined]>): string {
  const shown = pairs.flatMap(([name, value]) =>
    value === undefined ? [] : [[name, printable(value)] as const],
  );
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value}`).join('\n');
}

/** A number with its word: `1 extent`, `2 extents`. */
export function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** The size of a disk, behind its name; a directory tree has none. */
export function sizeNote(bytes: number): string {
  return bytes === 0 ? '' : `: ${formatSize(bytes)}`;
}

/** Says that a size is not the one that was asked for. */
export function roundedNote(roundedFrom: number | undefined): string {
  return roundedFrom === undefined ? '' : ` (rounded up from ${counted(roundedFrom, 'byte')})`;
}
