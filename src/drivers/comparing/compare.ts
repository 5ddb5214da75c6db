import type { FileType, FoundChange } from '../../model/changes.ts';
import { Paths } from './paths.ts';
import type { Difference, Entry, Inode, Link, TreePair } from './trees.ts';

/**
 * Tells what became of each file between two states of a tree, in the order of the paths.
 *
 * A file is the same in both states when its inode is. One that has another name, or lies in another directory, was renamed; one that
 * only lies in a directory that was renamed was not. One whose inode is gone was removed, unless another of the same type
 * stands in its place: then it was changed, as editors change a file that they write anew beside it.
 */
export function compareTrees(pair: TreePair): FoundChange[] {
  return new Comparison(pair).run();
}

/** A name that is only in one of the states. */
interface Loose extends Link {
  readonly entry: Entry;
}

/** One end of a change: a name that has become free, or one that has been given. */
interface End {
  readonly path: string;
  /** Where it would be if only directories that are in both states had been moved. */
  readonly place: string;
  readonly type: FileType;
  /** Undefined of a subvolume. */
  readonly inode: Inode | undefined;
  readonly entry: Entry;
  /** It has other names that stay: no data has come or gone with this one. */
  readonly isSpare: boolean;
}

class Comparison {
  readonly #pair: TreePair;
  /** Of the inodes that were looked up in both states; undefined when they are not the same file. */
  readonly #survivors = new Map<number, { readonly from: Inode; readonly to: Inode } | undefined>();
  readonly #before: Paths;
  readonly #after: Paths;
  readonly #places: Paths;
  readonly #changes: FoundChange[] = [];
  readonly #gone: End[] = [];
  readonly #come: End[] = [];

  constructor(pair: TreePair) {
    this.#pair = pair;
    this.#before = new Paths(pair.from);
    this.#after = new Paths(pair.to);
    this.#places = new Paths(pair.from, (directory) =>
      this.#survivor(directory) ? this.#after.ofDirectory(directory) : undefined,
    );
  }

  run(): FoundChange[] {
    const candidates = new Set(this.#pair.candidates());
    const renames = this.#followNames(candidates);
    for (const each of new Set([...candidates, ...renames.keys()]))
      this.#compareFile(each, renames.get(each));
    this.#match();
    return this.#changes.sort((a, b) => order(a.path, b.path) || order(a.kind, b.kind));
  }

  /** The same file in both states. The roots are the same whatever they are. */
  #survivor(number: number): { readonly from: Inode; readonly to: Inode } | undefined {
    if (this.#survivors.has(number)) return this.#survivors.get(number);
    const { from, to } = this.#pair;
    const [before, after] = [from.inode(number), to.inode(number)];
    const isSame = number === from.root || before?.identity === after?.identity;
    const survivor = before && after && isSame ? { from: before, to: after } : undefined;
    this.#survivors.set(number, survivor);
    return survivor;
  }

  /** Sorts out every name that is in one state only. Returns what has become of the names of each file that is in both. */
  #followNames(candidates: ReadonlySet<number>): Map<number, Renames> {
    const { from, to } = this.#pair;
    // One number may stand for two files, of which one at least is new.
    const isOther = (target: number): boolean => candidates.has(target) && !this.#survivor(target);
    const [released, given]: [Loose[], Loose[]] = [[], []];
    for (const directory of candidates) {
      if (this.#survivor(directory)?.to.type !== 'directory') continue;
      const [before, after] = [from.entries(directory), to.entries(directory)];
      // One by one: there may be more than a call takes arguments.
      for (const link of onlyIn(before, after, directory, isOther)) released.push(link);
      for (const link of onlyIn(after, before, directory, isOther)) given.push(link);
    }
    const freed = this.#followBelow(released, 'from');
    const taken = this.#followBelow(given, 'to');
    return this.#pairNames(freed, taken);
  }

  /**
   * Goes on into directories that are in one state only: all that is in them is, too, but for what was moved. Returns the names of
   * the files that are in both.
   */
  #followBelow(names: Loose[], side: 'from' | 'to'): Map<number, Loose[]> {
    const state = this.#pair[side];
    const ends = side === 'from' ? this.#gone : this.#come;
    const ofSurvivors = new Map<number, Loose[]>();
    for (let link = names.pop(); link; link = names.pop()) {
      const { target, isSubvolume } = link.entry;
      if (!isSubvolume && this.#survivor(target)) {
        append(ofSurvivors, target, link);
        continue;
      }
      const end = this.#end(link, side, false);
      ends.push(end);
      if (end.type !== 'directory') continue;
      for (const entry of state.entries(target).values())
        names.push({ directory: target, name: entry.name, entry });
    }
    return ofSurvivors;
  }

  #end(link: Loose, side: 'from' | 'to', isSpare: boolean): End {
    const { target, isSubvolume } = link.entry;
    const inode = isSubvolume ? undefined : this.#pair[side].inode(target);
    const path = (side === 'from' ? this.#before : this.#after).of(link);
    const place = side === 'from' ? this.#places.of(link) : path;
    const type = isSubvolume ? 'subvolume' : (inode?.type ?? 'other');
    return { path, place, type, inode, entry: link.entry, isSpare };
  }

  /** A name freed and a name taken by the same file are one name that was changed. */
  #pairNames(
    freed: ReadonlyMap<number, readonly Loose[]>,
    taken: ReadonlyMap<number, readonly Loose[]>,
  ): Map<number, Renames> {
    const renames = new Map<number, Renames>();
    for (const number of new Set([...freed.keys(), ...taken.keys()])) {
      const before = (freed.get(number) ?? []).map((link) => this.#end(link, 'from', true));
      const after = (taken.get(number) ?? []).map((link) => this.#end(link, 'to', true));
      const places = new Set(before.map(({ place }) => place));
      const kept = new Set(after.map(({ place }) => place).filter((place) => places.has(place)));
      const left = before.filter(({ place }) => !kept.has(place)).sort(byPath);
      const got = after.filter(({ place }) => !kept.has(place)).sort(byPath);
      const pairs = got
        .slice(0, left.length)
        .map(({ path }, index) => ({ path, from: left[index]?.path ?? '' }));
      for (const each of left.slice(pairs.length)) this.#gone.push(each);
      for (const each of got.slice(pairs.length)) this.#come.push(each);
      renames.set(number, { pairs, fresh: new Set(got.map(({ path }) => path)) });
    }
    return renames;
  }

  #compareFile(number: number, renames: Renames = noRenames): void {
    const survivor = this.#survivor(number);
    if (!survivor) return;
    const difference = this.#pair.difference(survivor.from, survivor.to);
    const { type } = survivor.to;
    const found: FoundChange[] = renames.pairs.map((pair) => ({ kind: 'renamed', type, ...pair }));
    if (difference)
      for (const path of this.#pathsOf(number))
        if (!renames.fresh.has(path)) found.push({ kind: 'changed', type, path });
    found.sort(byPath);
    for (const [index, each] of found.entries())
      this.#changes.push(withDifference(each, difference, index === 0));
  }

  #pathsOf(number: number): string[] {
    const { to } = this.#pair;
    return number === to.root ? ['.'] : to.namesOf(number).map((link) => this.#after.of(link));
  }

  /** What has come in the place of something that is gone has changed it; what is left was removed and added. */
  #match(): void {
    const { from, to } = this.#pair;
    const comers = new Map(this.#come.map((each) => [placeKey(each), each]));
    const counted = { from: new Set<number>(), to: new Set<number>() };
    const isFirst = ({ entry, isSpare }: End, side: 'from' | 'to'): boolean => {
      if (isSpare || counted[side].has(entry.target)) return false;
      counted[side].add(entry.target);
      return true;
    };
    const removed: End[] = [];
    for (const gone of this.#gone.sort(byPath)) {
      const come = comers.get(placeKey(gone));
      if (!come || (come.type === 'subvolume' && come.entry.target !== gone.entry.target)) {
        removed.push(gone);
        continue;
      }
      comers.delete(placeKey(gone));
      const difference = gone.inode && come.inode && this.#pair.difference(gone.inode, come.inode);
      if (!difference) continue;
      const change = { kind: 'changed', type: come.type, path: come.path } as const;
      this.#changes.push(withDifference(change, difference, isFirst(come, 'to')));
    }
    const tell = (kind: 'added' | 'removed', end: End): void => {
      const side = kind === 'added' ? 'to' : 'from';
      const counts = end.inode && isFirst(end, side);
      const bytes = counts && end.inode ? (kind === 'added' ? to : from).dataBytes(end.inode) : 0;
      this.#changes.push({ kind, type: end.type, path: end.path, bytes });
    };
    for (const each of removed) tell('removed', each);
    for (const each of [...comers.values()].sort(byPath)) tell('added', each);
  }
}

interface Renames {
  readonly pairs: ReadonlyArray<{ readonly from: string; readonly path: string }>;
  /** The paths that it has now and had not before. */
  readonly fresh: ReadonlySet<string>;
}

const noRenames: Renames = { pairs: [], fresh: new Set() };

function withDifference(
  change: FoundChange,
  difference: Difference | undefined,
  counts: boolean,
): FoundChange {
  return {
    ...change,
    bytes: counts && difference ? difference.bytes : 0,
    ...(difference && { aspects: difference.aspects }),
  };
}

function placeKey({ place, type }: End): string {
  return `${type} ${place}`;
}

function* onlyIn(
  these: ReturnType<TreePair['from']['entries']>,
  those: ReturnType<TreePair['from']['entries']>,
  directory: number,
  isOther: (target: number) => boolean,
): Generator<Loose> {
  for (const [key, entry] of these) {
    const other = those.get(key);
    const isSame =
      other?.name === entry.name && other.target === entry.target && other.isSubvolume === entry.isSubvolume;
    if (!isSame || (!entry.isSubvolume && isOther(entry.target)))
      yield { directory, name: entry.name, entry };
  }
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return order(a.path, b.path);
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
