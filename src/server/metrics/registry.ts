/** Numbers in the text format of Prometheus (version 0.0.4 of the exposition format). */

export type Labels = Readonly<Record<string, string>>;

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
}

/** A count that only grows, for each set of labels. */
export class Counter {
  readonly #family: Family;
  readonly #values = new Map<string, number>();

  constructor(name: string, help: string) {
    this.#family = { name, help, type: 'counter' };
  }

  add(labels: Labels = {}): void {
    const key = textOf(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + 1);
  }

  text(): string {
    return family(
      this.#family,
      [...this.#values].map(([labels, value]) => line(this.#family.name, labels, value)),
    );
  }
}

/** How many of what happened took how long, for each set of labels. */
export class Histogram {
  readonly #family: Family;
  readonly #bounds: readonly number[];
  readonly #values = new Map<string, { readonly counts: number[]; sum: number; labels: Labels }>();

  /** @param bounds the upper bounds of its buckets, in order */
  constructor(name: string, help: string, bounds: readonly number[]) {
    this.#family = { name, help, type: 'histogram' };
    this.#bounds = bounds;
  }

  observe(key: string, labels: () => Labels, value: number): void {
    let found = this.#values.get(key);
    if (!found) {
      found = { counts: new Array<number>(this.#bounds.length + 1).fill(0), sum: 0, labels: labels() };
      this.#values.set(key, found);
    }
    const at = this.#bounds.findIndex((bound) => value <= bound);
    const place = at < 0 ? this.#bounds.length : at;
    found.counts[place] = (found.counts[place] ?? 0) + 1;
    found.sum += value;
  }

  text(): string {
    const { name } = this.#family;
    const lines = [...this.#values.values()].flatMap(({ counts, sum, labels }) => {
      let below = 0;
      const buckets = counts.map((count, index) => {
        below += count;
        const le = index < this.#bounds.length ? String(this.#bounds[index]) : '+Inf';
        return line(`${name}_bucket`, textOf({ ...labels, le }), below);
      });
      const all = textOf(labels);
      return [...buckets, line(`${name}_sum`, all, sum), line(`${name}_count`, all, below)];
    });
    return family(this.#family, lines);
  }
}

/** What something is at the moment, for each set of labels. */
export function gauge(name: string, help: string, values: ReadonlyArray<readonly [Labels, number]>): string {
  return family(
    { name, help, type: 'gauge' },
    values.map(([labels, value]) => line(name, textOf(labels), value)),
  );
}

function family({ name, help, type }: Family, lines: readonly string[]): string {
  if (lines.length === 0) return '';
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function line(name: string, labels: string, value: number): string {
  return `${name}${labels} ${Number.isFinite(value) ? value : 'NaN'}\n`;
}

function textOf(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return '';
  return `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
