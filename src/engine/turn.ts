import type { HeldSource } from './holding.ts';

/**
 * What the clones share that a thread makes in a row: their source, opened, locked and read once. It can't change while it is
 * held, but others may wait for its lock: so a turn ends before anything else is done, and after a few milliseconds.
 */
export class Turn {
  #reference: string | undefined;
  #source: HeldSource | undefined;

  /** The source of that reference: the one that the turn has, or opened now. It belongs to the turn, which closes it. */
  source(reference: string, open: () => HeldSource): HeldSource {
    if (this.#source && this.#reference === reference) return this.#source;
    this.end();
    this.#source = open();
    this.#reference = reference;
    return this.#source;
  }

  /** Lets go of the source. */
  end(): void {
    this.#source?.[Symbol.dispose]();
    this.#source = undefined;
  }
}
