/** What a measure wants to be: a limit on its median, or nothing when it only informs. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

export interface Measured {
  readonly name: string;
  /** The median of the samples. */
  readonly value: number;
  readonly unit: string;
  readonly target?: Target;
  readonly ok?: boolean;
  readonly samples: readonly number[];
}

/** One line of the table from the samples of several rounds. */
export function measured(name: string, unit: string, samples: readonly number[], target?: Target): Measured {
  const value = median(samples);
  return { name, value, unit, samples, ...(target && { target, ok: reaches(value, target) }) };
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/**
 * Compares two things on a machine that others use too: each round measures both, one right after the other and in alternating
 * order, and only the ratios within the rounds count. Other load hits both sides of a round alike.
 */
export async function compare(
  rounds: number,
  a: (round: number) => Promise<number> | number,
  b: (round: number) => Promise<number> | number,
): Promise<Array<{ readonly a: number; readonly b: number }>> {
  const results: Array<{ a: number; b: number }> = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await a(round);
      results.push({ a: first, b: await b(round) });
    } else {
      const first = await b(round);
      results.push({ a: await a(round), b: first });
    }
  }
  return results;
}

/** Milliseconds that something takes. */
export async function time(run: () => unknown): Promise<number> {
  const begin = performance.now();
  await run();
  return performance.now() - begin;
}

function reaches(value: number, target: Target): boolean {
  return 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
}
