/** How a long operation talks to whoever started it. */
export interface Control {
  readonly signal: AbortSignal | undefined;
  readonly report: (progress: OperationProgress) => void;
}

export interface OperationProgress {
  readonly step: string;
  /** From 0 to 1. */
  readonly fraction: number;
  /** Where whole things are counted, such as clones: how many are done, of how many. */
  readonly done?: number;
  readonly total?: number;
}

/** How far something is that goes from one thing to the next. */
export function progressOf(step: string, done: number, total: number): OperationProgress {
  return { step, fraction: total === 0 ? 1 : done / total, done, total };
}
