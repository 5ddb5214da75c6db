export interface QuickPace {
  /** Takes note of how long a quick operation took, in milliseconds. */
  observe(milliseconds: number): void;
  /** About what they take, in milliseconds. */
  usual(): number;
  /** How many threads quick operations may use now, and how many of them each may be given at once. */
  limits(): { readonly threads: number; readonly depth: number };
}

/**
 * Decides how quick operations are spread over threads, from how long they took lately. Reflinks of contiguous disks are bound by
 * locks inside the file system: two threads make fewer of them than one, and one works best that always has the next at
 * hand. Snapshots wait for commits, which they share when many wait together: eight threads make three times as many as one.
 */
export function quickPace(mostThreads: number): QuickPace {
  let usual = 0.2;
  return {
    // Goes towards the median: a few that are late, because other programs want the processors, say nothing about the rest.
    observe(milliseconds) {
      if (milliseconds > usual) usual = Math.min(usual * step, slowest);
      else usual = Math.max(usual / step, quickest);
    },
    usual: () => usual,
    limits: () => ({
      threads: clamp(Math.round(usual / alone), mostThreads),
      depth: clamp(Math.floor(handful / usual), 8),
    }),
  };
}

const step = 1.1;
/** Milliseconds between which it is followed: beyond, nothing changes. */
const quickest = 0.1;
const slowest = 5;
/** Milliseconds of waiting that are worth another thread. */
const alone = 0.5;
/** How much work in milliseconds is given to a thread at once: what a slow one among them can hold up. */
const handful = 2;

function clamp(value: number, most: number): number {
  return Math.min(most, Math.max(1, value));
}
