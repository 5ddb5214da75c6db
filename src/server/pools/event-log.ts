import { randomId } from '../../linux/random.ts';

/** How many events are kept for those who are behind. */
const kept = 32_768;

/**
 * What has happened lately, in order, for any number of readers at any place in it. A reader holds nothing but his place; one who falls
 * behind what is kept has to begin anew.
 */
export class EventLog<E> {
  /** Tells this log from that of another run: places in the other mean nothing here. */
  readonly #epoch = randomId().slice(0, 8);
  readonly #events: E[] = [];
  /** The place of the first event that is kept, and of the next one. */
  #first = 0;
  #next = 0;
  #waiting: Array<() => void> = [];
  #isTelling = false;

  get next(): number {
    return this.#next;
  }

  append(event: E): void {
    this.#events[this.#next % kept] = event;
    this.#next++;
    if (this.#next - this.#first > kept) this.#first = this.#next - kept;
    if (this.#isTelling || this.#waiting.length === 0) return;
    this.#isTelling = true;
    // Events come in bursts: who waits gets what has come together in one piece.
    setImmediate(() => {
      this.#isTelling = false;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const tell of waiting) tell();
    });
  }

  /** Up to so many events from a place on; undefined when it is not kept any more. */
  read(place: number, most: number): readonly E[] | undefined {
    if (place < this.#first) return undefined;
    const events: E[] = [];
    for (let at = place; at < Math.min(this.#next, place + most); at++)
      events.push(this.#events[at % kept] as E);
    return events;
  }

  /** Has everybody begin anew, where what has happened is not known. */
  restart(): void {
    this.#next++;
    this.#first = this.#next;
    for (const tell of this.#waiting.splice(0)) tell();
  }

  /** Resolves when there is something at a place, when the time is over, or when the signal fires. */
  waitFor(place: number, milliseconds: number, signal: AbortSignal): Promise<void> {
    if (place < this.#next || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abandon);
        resolve();
      };
      const abandon = (): void => {
        this.#waiting = this.#waiting.filter((each) => each !== end);
        end();
      };
      const timer = setTimeout(abandon, milliseconds);
      signal.addEventListener('abort', abandon);
      this.#waiting.push(end);
    });
  }

  /** A place as readers keep it. */
  versionOf(place: number): string {
    return `${this.#epoch}.${place}`;
  }

  /** The place of a version; undefined when it is of another run, or too old. */
  placeOf(version: string): number | undefined {
    const [epoch, digits = ''] = version.split('.', 2);
    if (epoch !== this.#epoch || !/^\d{1,15}$/.test(digits)) return undefined;
    const place = Number(digits);
    return place >= this.#first && place <= this.#next ? place : undefined;
  }
}
