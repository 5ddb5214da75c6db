import type { Link, TreeState } from './trees.ts';

/** Paths from the root of a tree, which itself has none; one character a byte. */
export class Paths {
  readonly #state: TreeState;
  readonly #instead: ((directory: number) => string | undefined) | undefined;
  readonly #known = new Map<number, string>();

  /** @param instead what the path of a directory is to be, where it is not its own */
  constructor(state: TreeState, instead?: (directory: number) => string | undefined) {
    this.#state = state;
    this.#instead = instead;
    this.#known.set(state.root, '');
  }

  of({ directory, name }: Link): string {
    return joined(this.ofDirectory(directory), name);
  }

  /** Without recursion: a tree may be thousands deep. */
  ofDirectory(directory: number): string {
    const below: Array<{ readonly directory: number; readonly name: string }> = [];
    let path = this.#find(directory);
    for (let next = directory; path === undefined; path = this.#find(next)) {
      const [link] = this.#state.namesOf(next);
      if (!link) throw new Error(`The directory ${next} has no name.`);
      below.push({ directory: next, name: link.name });
      next = link.directory;
    }
    for (const each of below.reverse()) {
      path = joined(path, each.name);
      this.#known.set(each.directory, path);
    }
    return path;
  }

  #find(directory: number): string | undefined {
    const known = this.#known.get(directory);
    if (known !== undefined) return known;
    const instead = this.#instead?.(directory);
    if (instead !== undefined) this.#known.set(directory, instead);
    return instead;
  }
}

function joined(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`;
}
