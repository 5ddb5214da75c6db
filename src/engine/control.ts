/** How a long operation talks to whoever started it. */
export interface Control {
  readonly signal: AbortSignal | undefined;
  readonly report: (progress: OperationProgress) => void;
}

export interface OperationProgress {
  readonly step: string;
  /** From 0 to 1. */
  readonly fraction: number;
}
