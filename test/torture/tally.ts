/** What has been done so far, for a line a minute and a table at the end. */
export class Tally {
  readonly #rows = new Map<string, Map<string, number>>();
  readonly #began = performance.now();
  #now = '';

  begin(scene: string, driver: string, round: number): TallyRow {
    this.#now = `round ${round}, ${scene} on ${driver}`;
    const key = `${scene} ${driver}`;
    const row = this.#rows.get(key) ?? new Map<string, number>();
    this.#rows.set(key, row);
    const add = (what: string, times = 1): void => void row.set(what, (row.get(what) ?? 0) + times);
    return {
      count: add,
      end(milliseconds) {
        add('rounds');
        add('seconds', milliseconds / 1000);
      },
    };
  }

  line(): string {
    const minutes = ((performance.now() - this.#began) / 60_000).toFixed(0);
    return `${minutes} min: ${this.#now}; so far ${describe(this.#totals())}`;
  }

  table(): string {
    const rows = [...this.#rows].map(([key, row]) => `${key.padEnd(28)} ${describe(row)}`);
    return [...rows, `${'all'.padEnd(28)} ${describe(this.#totals())}`].join('\n');
  }

  #totals(): Map<string, number> {
    const totals = new Map<string, number>();
    for (const row of this.#rows.values())
      for (const [what, times] of row) totals.set(what, (totals.get(what) ?? 0) + times);
    return totals;
  }
}

export interface TallyRow {
  count(what: string, times?: number): void;
  end(milliseconds: number): void;
}

function describe(counts: ReadonlyMap<string, number>): string {
  const { rounds = 0, ...others } = Object.fromEntries(counts);
  return [['rounds', rounds] as const, ...Object.entries(others)]
    .map(([what, times]) => `${times.toLocaleString('en', { maximumFractionDigits: 0 })} ${what}`)
    .join(', ');
}
