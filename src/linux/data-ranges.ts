/** A range of a file that has data. What lies between them reads as zeros. */
export interface DataRange {
  readonly start: number;
  readonly end: number;
  /** Two ranges with the same source show the same bytes at the same places of their files. */
  readonly source: string;
}

export function totalBytes(ranges: readonly DataRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** How many bytes up to a size have another source in one file than in the other. */
export function differingBytes(
  these: readonly DataRange[],
  those: readonly DataRange[],
  size: number,
): number {
  let differing = 0;
  for (let position = 0, i = 0, j = 0; position < size; ) {
    while (these[i] && (these[i]?.end ?? 0) <= position) i++;
    while (those[j] && (those[j]?.end ?? 0) <= position) j++;
    const [one, other] = [sourceAt(these[i], position, size), sourceAt(those[j], position, size)];
    const end = Math.min(one.until, other.until);
    if (one.source !== other.source) differing += end - position;
    position = end;
  }
  return differing;
}

function sourceAt(
  range: DataRange | undefined,
  position: number,
  size: number,
): { readonly source: string | undefined; readonly until: number } {
  if (!range) return { source: undefined, until: size };
  if (range.start > position) return { source: undefined, until: Math.min(size, range.start) };
  return { source: range.source, until: Math.min(size, range.end) };
}
