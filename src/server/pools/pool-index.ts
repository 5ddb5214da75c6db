import type { Listed, SnapshotSummary, VolumeSummary } from '../../engine/operations/list.ts';

export type Change =
  | { readonly type: 'added' | 'changed' | 'removed'; readonly volume: VolumeSummary }
  | { readonly type: 'added' | 'changed' | 'removed'; readonly snapshot: SnapshotSummary };

/**
 * What is in a pool, as far as it is known: for lists of thousands in pages, for metrics, and to tell what has changed. Never asked
 * where it matters whether something is there.
 */
export class PoolIndex {
  readonly #entries = new Map<string, Listed>();
  /** The names in order, as they were when somebody last asked; and those that have come since, in no order. */
  #names: string[] = [];
  #added: string[] = [];
  #removed = 0;
  #templates = 0;
  #volumes = 0;
  #snapshots = 0;
  readonly #onChange: (change: Change) => void;

  constructor(onChange: (change: Change) => void) {
    this.#onChange = onChange;
  }

  get counts(): { readonly templates: number; readonly volumes: number; readonly snapshots: number } {
    return { templates: this.#templates, volumes: this.#volumes, snapshots: this.#snapshots };
  }

  get(name: string): Listed | undefined {
    return this.#entries.get(name);
  }

  /** Up to so many entries whose names come after one. */
  after(name: string, most: number): Listed[] {
    this.#sort();
    const from = name === '' ? 0 : placeAfter(this.#names, name);
    return this.#names.slice(from, from + most).map((each) => this.#entries.get(each) as Listed);
  }

  set(name: string, entry: Listed): void {
    const before = this.#entries.get(name);
    if (!before) this.#added.push(name);
    this.#entries.set(name, entry);
    if (before) this.#count(before, -1);
    this.#count(entry, 1);
    if (!before) this.#onChange({ type: 'added', volume: entry.volume });
    else if (!sameVolume(before.volume, entry.volume))
      this.#onChange({ type: 'changed', volume: entry.volume });
    const isOther = before?.volume.id !== entry.volume.id;
    this.#tellSnapshots(before?.snapshots ?? [], entry.snapshots, isOther);
  }

  rename(from: string, to: string): void {
    const entry = this.#entries.get(from);
    if (!entry) return;
    this.delete(from);
    const snapshots = entry.snapshots.map((each) => ({ ...each, reference: `${to}@${each.name}` }));
    this.set(to, { volume: { ...entry.volume, name: to }, snapshots });
  }

  resize(name: string, bytes: number): void {
    const entry = this.#entries.get(name);
    if (entry) this.set(name, { ...entry, volume: { ...entry.volume, bytes } });
  }

  delete(name: string): void {
    const before = this.#entries.get(name);
    if (!before) return;
    this.#entries.delete(name);
    this.#removed++;
    this.#count(before, -1);
    this.#tellSnapshots(before.snapshots, [], false);
    this.#onChange({ type: 'removed', volume: before.volume });
  }

  clear(): void {
    this.#entries.clear();
    this.#names = [];
    this.#added = [];
    this.#removed = 0;
    this.#templates = 0;
    this.#volumes = 0;
    this.#snapshots = 0;
  }

  /** Brings the names up to date: to keep them in order at each change would move half of them each time. */
  #sort(): void {
    if (this.#added.length === 0 && this.#removed === 0) return;
    const added = [...new Set(this.#added)].filter((name) => this.#entries.has(name)).sort();
    const isNew = new Set(added);
    const kept = this.#names.filter((name) => this.#entries.has(name) && !isNew.has(name));
    this.#names = merged(kept, added);
    this.#added = [];
    this.#removed = 0;
  }

  #count({ volume, snapshots }: Listed, by: 1 | -1): void {
    if (volume.type === 'template') this.#templates += by;
    if (volume.type === 'volume') this.#volumes += by;
    this.#snapshots += by * snapshots.length;
  }

  /** @param isOther what has the names now belongs to another volume */
  #tellSnapshots(
    before: readonly SnapshotSummary[],
    after: readonly SnapshotSummary[],
    isOther: boolean,
  ): void {
    if (before.length === 0 && after.length === 0) return;
    const there = new Map(before.map((each) => [each.name, each]));
    for (const snapshot of after) {
      const known = there.get(snapshot.name);
      there.delete(snapshot.name);
      if (isOther || !known || known.created !== snapshot.created)
        this.#onChange({ type: 'added', snapshot });
      else if (!sameMarks(known, snapshot)) this.#onChange({ type: 'changed', snapshot });
    }
    for (const snapshot of there.values()) this.#onChange({ type: 'removed', snapshot });
  }
}

/** Whether two entries tell the same. */
export function sameEntry(a: Listed | undefined, b: Listed | undefined): boolean {
  if (!a || !b) return a === b;
  return (
    sameVolume(a.volume, b.volume) &&
    a.snapshots.every((each, index) => {
      const other = b.snapshots[index];
      return each.name === other?.name && each.created === other.created && sameMarks(each, other);
    })
  );
}

/** What is said of a snapshot later. */
function sameMarks(a: SnapshotSummary, b: SnapshotSummary): boolean {
  return (
    a.expires === b.expires &&
    a.hold?.at === b.hold?.at &&
    a.hold?.reason === b.hold?.reason &&
    a.verified?.at === b.verified?.at &&
    a.verified?.result === b.verified?.result
  );
}

function sameVolume(a: VolumeSummary, b: VolumeSummary): boolean {
  return (
    a.name === b.name &&
    a.id === b.id &&
    a.type === b.type &&
    a.bytes === b.bytes &&
    a.created === b.created &&
    a.snapshots === b.snapshots &&
    a.kind === b.kind &&
    a.origin?.id === b.origin?.id &&
    a.at?.path === b.at?.path &&
    a.at?.how === b.at?.how &&
    a.at?.boot === b.at?.boot &&
    a.request === b.request
  );
}

/** Two sorted lists as one. */
function merged(a: readonly string[], b: readonly string[]): string[] {
  if (a.length === 0 || b.length === 0) return [...a, ...b];
  const all: string[] = [];
  let at = 0;
  for (const name of a) {
    for (let next = b[at]; next !== undefined && next < name; next = b[++at]) all.push(next);
    all.push(name);
  }
  for (const rest of b.slice(at)) all.push(rest);
  return all;
}

/** The place of the first of sorted names that comes after one. */
function placeAfter(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] as string) <= name) low = middle + 1;
    else high = middle;
  }
  return low;
}
