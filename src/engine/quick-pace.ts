export interface QuickPace {
  /** Takes note of how long a quick operation took, in milliseconds. */
  observe(milliseconds: number): void;
  /** How many threads quick operations may use now, and how many of them each may be given at once. */
  limits(): { readonly threads: number; readonly depth: number };
}

/**
 * Decides how quick operations are spread over threads, from how long they took lately. Reflinks of contiguous disks are bound by
 * locks inside the file system: two threads make fewer of them than one, and what a thread gains most from is being woken less
 * often. Snapshots wait for commits, which they share when many wait together: eight threads make three times as many as one.
 */
export function quickPace(mostThreads: number): QuickPace {
  let average = 0.2;
  return {
    observe(milliseconds) {
      average += (Math.min(milliseconds, longest) - average) / memory;
    },
    limits: () => ({
      threads: clamp(Math.round(average / alone), mostThreads),
      depth: clamp(Math.floor(handful / average), 8),
    }),
  };
}

/** One stuck operation must not count for many that are quick again. */
const longest = 20;
const memory = 8;
/** Milliseconds up to which an operation is computing rather than waiting. */
const alone = 0.25;
/** How much work in milliseconds is given to a thread at once: what a slow one among them can hold up. */
const handful = 1;

function clamp(value: number, most: number): number {
  return Math.min(most, Math.max(1, value));
}
