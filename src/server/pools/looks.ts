/** Milliseconds for which the pages of one list come from one look. */
const longest = 10_000;

interface Look {
  readonly of: string;
  readonly at: number;
  readonly found: unknown;
}

/** What was looked at lately, so that a list is not made anew for each of its pages. One of each kind is kept. */
export class Looks {
  readonly #last = new Map<string, Look>();

  /**
   * @param of of what kind it is, and of what
   * @param from the place in the list at which a page begins: the first page is of a new look
   */
  async look<T>(
    of: readonly [kind: string, ...what: ReadonlyArray<string | undefined>],
    from: number,
    run: () => T | Promise<T>,
  ): Promise<T> {
    const [kind] = of;
    const key = JSON.stringify(of);
    const last = this.#last.get(kind);
    if (last?.of === key && from > 0 && performance.now() - last.at <= longest) return last.found as T;
    const found = await run();
    this.#last.set(kind, { of: key, at: performance.now(), found });
    return found;
  }
}
