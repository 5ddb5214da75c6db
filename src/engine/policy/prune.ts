import { setImmediate as turn } from 'node:timers/promises';
import { CoppiceError, type ErrorData } from '../../model/errors.ts';
import type { Metadata } from '../../model/metadata.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { explainFailure } from '../failures.ts';
import { type Removed, remove } from '../operations/remove.ts';
import { patiently } from './patiently.ts';
import { type Decision, type KnownSnapshot, keyOf } from './rules/situation.ts';

/** What goes, and what that was decided from. */
export interface Doomed {
  readonly decision: Decision;
  readonly known: KnownSnapshot;
}

export interface Pruned {
  readonly removed: readonly string[];
  /** Somebody has it open or locked: it goes another time. */
  readonly putOff: ReadonlyArray<{ readonly reference: string; readonly message: string }>;
  readonly failed: ReadonlyArray<{ readonly reference: string; readonly error: ErrorData }>;
  readonly warnings: readonly string[];
}

/**
 * Removes what goes: of each volume all in one step, and of a group that was taken together all in one step. What has gone meanwhile, has
 * been held or proven meanwhile, or is another of the same name, is left alone. One that can't go does not keep the others, but for
 * those of its group.
 */
export async function prune(context: Context, doomed: readonly Doomed[], control: Control): Promise<Pruned> {
  const units = Map.groupBy(doomed, ({ decision, known }) => known.group ?? `of ${decision.volume}`);
  const results: Pruned[] = [];
  for (const unit of units.values()) {
    // In a row of calls to the kernel, nothing else would hear of the signal.
    await turn();
    if (!control.signal?.aborted) results.push(await pruneUnit(context, unit, control));
  }
  return {
    removed: results.flatMap(({ removed }) => removed),
    putOff: results.flatMap(({ putOff }) => putOff),
    failed: results.flatMap(({ failed }) => failed),
    warnings: results.flatMap(({ warnings }) => warnings),
  };
}

async function pruneUnit(context: Context, unit: readonly Doomed[], control: Control): Promise<Pruned> {
  const outcome = await tryToRemove(context, unit, control);
  if (!(outcome instanceof CoppiceError)) {
    const { removed, warnings = [] } = outcome;
    return { removed, warnings, putOff: [], failed: [] };
  }
  const isGroup = unit.some(({ known }) => known.group !== undefined);
  if (unit.length > 1 && !isGroup) {
    return prune(
      context,
      // As if each were a group of its own.
      unit.map(({ decision, known }) => ({ decision, known: { ...known, group: known.id } })),
      control,
    );
  }
  const references = unit.map(({ decision }) => keyOf(decision));
  const isInTheWay = outcome.code === 'blocked' || outcome.code === 'busy';
  return {
    removed: [],
    warnings: [],
    putOff: isInTheWay ? references.map((reference) => ({ reference, message: outcome.message })) : [],
    failed: isInTheWay ? [] : references.map((reference) => ({ reference, error: outcome.toJSON() })),
  };
}

async function tryToRemove(
  context: Context,
  unit: readonly Doomed[],
  control: Control,
): Promise<Removed | CoppiceError> {
  const known = new Map(unit.map((each) => [keyOf(each.decision), each.known]));
  const references = [...known.keys()];
  const options: Parameters<typeof remove>[2] = {
    ifExists: true,
    isStill: (reference, metadata) => isSame(known.get(reference), metadata),
  };
  const began = performance.now();
  const tell = (removed: readonly string[], failure?: unknown): void => {
    if (removed.length > 0) context.audit?.append('remove', [removed, { reason: 'policy' }], began, failure);
  };
  try {
    const result = await patiently(control, () => remove(context, references, options, control));
    tell(result.removed);
    return result;
  } catch (error) {
    tell(references, error);
    const explained = explainFailure(`remove ${references.join(', ')}`, error);
    if (explained instanceof CoppiceError) return explained;
    throw explained;
  }
}

/** The same name may be another snapshot by now, and what was said of it since may keep it. */
function isSame(known: KnownSnapshot | undefined, metadata: Metadata | undefined): boolean {
  if (!known || metadata?.type !== 'snapshot' || metadata.id !== known.id || metadata.hold) return false;
  const expires = metadata.expires === undefined ? undefined : Date.parse(metadata.expires);
  return (
    Object.is(expires, known.expires) && JSON.stringify(metadata.verified) === JSON.stringify(known.verified)
  );
}
