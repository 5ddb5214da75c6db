/** Every way an operation can fail, as a closed set. The command line maps each to an exit code, a server to its own. */
export const errorCodes = [
  'invalid_argument',
  'not_found',
  'already_exists',
  'blocked',
  'no_space',
  'not_a_pool',
  'unsupported',
  'invalid_image',
  'checksum_mismatch',
  'damaged',
  'permission_denied',
  'missing_tool',
  'cancelled',
  'busy',
  'io_error',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** Why an operation can't happen now, naming what stands in the way. */
export interface Blocker {
  readonly kind:
    | 'open'
    | 'snapshots'
    | 'mounted'
    | 'sealed'
    | 'volumes'
    | 'source'
    | 'unknown_holders'
    | 'held'
    | 'guard';
  /** What blocks: a process, a path, a snapshot, a volume. */
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface ErrorDetails {
  readonly blockers?: readonly Blocker[];
  /** Bytes that the operation wanted, for `no_space`. */
  readonly neededBytes?: number;
  /** Bytes that there are, for `no_space`. */
  readonly availableBytes?: number;
  readonly cause?: unknown;
}

/** The one error that Coppice throws on purpose. Its message is one sentence: what failed, on what, why, what to do. */
export class CoppiceError extends Error {
  readonly code: ErrorCode;
  readonly blockers: readonly Blocker[];
  readonly neededBytes: number | undefined;
  readonly availableBytes: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CoppiceError';
    this.code = code;
    this.blockers = details.blockers ?? [];
    this.neededBytes = details.neededBytes;
    this.availableBytes = details.availableBytes;
  }

  /** The error as plain data: what `--json` prints, and what crosses from a worker thread. */
  toJSON(): ErrorData {
    return {
      code: this.code,
      message: this.message,
      ...(this.blockers.length > 0 && { blockers: this.blockers }),
      ...(this.neededBytes !== undefined && { neededBytes: this.neededBytes }),
      ...(this.availableBytes !== undefined && { availableBytes: this.availableBytes }),
    };
  }
}

export interface ErrorData {
  readonly code: ErrorCode;
  readonly message: string;
  readonly blockers?: readonly Blocker[];
  readonly neededBytes?: number;
  readonly availableBytes?: number;
}

/** Whether something says of itself what a CoppiceError does, as one of another copy of this module. */
export function isErrorData(value: object): value is ErrorData & ErrorDetails {
  return 'code' in value && 'message' in value && errorCodes.some((code) => code === value.code);
}

/** An operation that something stands in the way of: one sentence, with every blocker listed. */
export function blockedBy(
  action: string,
  blockers: readonly Blocker[],
  details: Pick<ErrorDetails, 'cause'> = {},
): CoppiceError {
  const reasons = blockers.map((blocker) => blocker.what).join('; ');
  const remedies = [...new Set(blockers.map((blocker) => blocker.remedy))].join('; or ');
  return new CoppiceError('blocked', `${action}: ${reasons}. To go on: ${remedies}.`, {
    ...details,
    blockers,
  });
}

/** An `io_error` because the kernel could not read or write, as on a disk that fails or has lost data. */
export function badDisk(what: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'io_error',
    `${what}: a disk has failed or has lost data; "dmesg" says where; all that a pool has lost is found on btrfs by "btrfs scrub start -B POOL" and on zfs by "zpool scrub POOL".`,
    { cause },
  );
}

/** The nearest of the candidates to a mistyped word, as a ready phrase, or nothing. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance <= Math.max(1, Math.floor(word.length / 3)) && (!best || distance < best.distance)) {
      best = { candidate, distance };
    }
  }
  return best ? ` Did you mean "${best.candidate}"?` : '';
}

/** Insertions, deletions, substitutions and swaps of neighbours: optimal string alignment. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = swapped ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(at(i - 1, j - 1) + (same ? 0 : 1), at(i - 1, j) + 1, at(i, j - 1) + 1, swap));
    }
  }
  return at(a.length, b.length);
}

/** Something was asked of a pool that its own process has closed. */
export class PoolClosed extends CoppiceError {
  constructor() {
    super('cancelled', 'The pool has been closed; open it again.');
  }
}
