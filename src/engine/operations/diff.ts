import type { Held } from '../../drivers/driver.ts';
import type { Change, ChangeKind, ComparisonMethod } from '../../model/changes.ts';
import { tellChange } from '../../model/changes.ts';
import { CoppiceError } from '../../model/errors.ts';
import { formatReference, parseReference, type Reference } from '../../model/names.ts';
import { requireCapability } from '../capabilities.ts';
import type { Context } from '../context.ts';
import { stageFrozen } from '../frozen.ts';
import { type HeldSource, holdSource } from '../holding.ts';
import { abandon } from '../publish.ts';

export interface DiffOptions {
  /** Tell at most so many changes, the first in the order of their paths; all are counted. All are told when absent. */
  readonly limit?: number;
}

/** What is different in `to`, looked at from `from`. */
export interface TreeDiff {
  /** `VOLUME@SNAPSHOT`, or `VOLUME` for its present state. */
  readonly from: string;
  readonly to: string;
  readonly counts: Readonly<Record<ChangeKind, number>>;
  /** Sums of the bytes of the changes. Absent where the storage doesn't tell them. */
  readonly bytes?: Readonly<Record<ChangeKind, number>>;
  /** In the order of their paths, byte by byte. */
  readonly changes: readonly Change[];
  /** How many are not told, because there are more than the limit. */
  readonly omitted: number;
  readonly method: ComparisonMethod;
}

/**
 * Tells which files are different in two states of directory trees. A present state is compared as it is at one instant.
 * @param toText null: the present state of the volume
 */
export function diff(
  context: Context,
  fromText: string,
  toText: string | null,
  options: DiffOptions,
): TreeDiff {
  const from = parseReference(fromText);
  const to = toText === null ? presentStateOf(from) : parseReference(toText);
  const { limit = Number.POSITIVE_INFINITY } = options;
  if (limit !== Number.POSITIVE_INFINITY && !(Number.isInteger(limit) && limit >= 0))
    throw new CoppiceError('invalid_argument', `${limit} is not a valid limit: it is a count of changes.`);
  const action = `compare ${formatReference(from)} with ${formatReference(to)}`;
  requireCapability(context, 'treeDifferences', action);
  // In the order of names, as others do who hold several.
  const [first, second] = from.volume <= to.volume ? [from, to] : [to, from];
  using one = holdTree(context, first, action);
  using other = holdTree(context, second, action);
  const [before, after] = first === from ? [one, other] : [other, one];
  using old = steadyStateOf(context, before);
  using present = steadyStateOf(context, after);
  const compared = context.driver.differences?.(old.held, present.held);
  if (!compared) throw new CoppiceError('unsupported', `Could not ${action}: there are no trees.`);
  const { changes, method } = compared;
  const kept = changes.slice(0, limit);
  const bytes = changes.every((each) => each.bytes !== undefined);
  return {
    from: formatReference(from),
    to: formatReference(to),
    counts: sumByKind(changes, () => 1),
    ...(bytes && { bytes: sumByKind(changes, (each) => each.bytes ?? 0) }),
    changes: kept.map(tellChange),
    omitted: changes.length - kept.length,
    method,
  };
}

function presentStateOf({ volume, snapshot }: Reference): Reference {
  if (snapshot) return { volume };
  throw new CoppiceError(
    'invalid_argument',
    `${volume} can't be compared with itself: name a snapshot of it, as ${volume}@SNAPSHOT, or something else beside it.`,
  );
}

/** @throws CoppiceError unsupported for a disk, of which only a guest knows the files */
function holdTree(context: Context, reference: Reference, action: string): HeldSource {
  const held = holdSource(context, reference);
  if (held.metadata.kind === 'tree') return held;
  held[Symbol.dispose]();
  throw new CoppiceError(
    'unsupported',
    `Could not ${action}: ${reference.volume} is a disk, and what is in it only a machine knows that uses it; look at a clone of each from there.`,
  );
}

interface SteadyState extends Disposable {
  readonly held: Held;
}

/** A snapshot and a template never change; of anything else a copy is made, which is gone when it was compared. */
function steadyStateOf(context: Context, { reference, metadata, source }: HeldSource): SteadyState {
  if (reference.snapshot || metadata.sealed) return { held: source, [Symbol.dispose]() {} };
  const copy = stageFrozen(context, source, 'diff');
  return {
    held: copy,
    [Symbol.dispose]() {
      abandon(context, copy);
      copy[Symbol.dispose]();
    },
  };
}

function sumByKind<T extends { readonly kind: ChangeKind }>(
  changes: readonly T[],
  amount: (change: T) => number,
): Record<ChangeKind, number> {
  const sums = { added: 0, removed: 0, changed: 0, renamed: 0 };
  for (const change of changes) sums[change.kind] += amount(change);
  return sums;
}
