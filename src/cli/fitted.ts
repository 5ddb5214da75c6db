/** Between two columns. */
export const gap = '  ';

interface Fittable {
  /** The title, and the values below it. */
  readonly cells: readonly string[];
  readonly givesWay?: number;
  readonly shortens?: true;
}

/** What a shortened value keeps at least. */
const least = 12;

/**
 * Has columns fit a line: the least important ones are shortened where that is enough, else left out; those that never give way are
 * shortened last, and only as far as their values still differ. They may then be too wide: a line that wraps can be read, two names that
 * look alike can't be told apart.
 */
export function fitted<C extends Fittable>(columns: readonly C[], width: number | undefined): readonly C[] {
  if (width === undefined) return columns;
  const yielding = columns
    .filter(({ givesWay }) => givesWay !== undefined)
    .sort((a, b) => (a.givesWay ?? 0) - (b.givesWay ?? 0));
  let shown = columns;
  for (const column of yielding) {
    const room = widthOf(column) - excess(shown, width);
    if (room >= widthOf(column)) return shown;
    if (column.shortens && room >= least) return replaced(shown, column, shortened(column, room));
    shown = shown.filter((each) => each !== column);
  }
  for (const column of shown) {
    const room = Math.max(widthOf(column) - excess(shown, width), least);
    if (column.shortens && room < widthOf(column)) {
      const shorter = shortened(column, room);
      if (distinct(shorter) === distinct(column)) shown = replaced(shown, column, shorter);
    }
  }
  return shown;
}

/** By how much a line is too long. */
function excess(columns: readonly Fittable[], width: number): number {
  const gaps = gap.length * Math.max(columns.length - 1, 0);
  return columns.reduce((sum, column) => sum + widthOf(column), gaps) - width;
}

function widthOf({ cells }: Fittable): number {
  return cells.reduce((most, cell) => Math.max(most, cell.length), 0);
}

function replaced<C>(columns: readonly C[], old: C, by: C): readonly C[] {
  return columns.map((column) => (column === old ? by : column));
}

/** Without the middle, because names begin with what they are and end with a number or a time. */
function shortened<C extends Fittable>(column: C, room: number): C {
  const cells = column.cells.map((cell) => {
    if (cell.length <= room) return cell;
    const end = Math.floor((room - 1) / 2);
    return `${cell.slice(0, room - 1 - end)}…${cell.slice(-end)}`;
  });
  return { ...column, cells };
}

function distinct({ cells }: Fittable): number {
  return new Set(cells).size;
}
