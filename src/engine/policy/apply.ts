import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { doomedAmong, type Judged, judgeNow } from './judge-now.ts';
import { type Doomed, type Pruned, prune } from './prune.ts';
import { selection } from './read.ts';
import { noRelief, relieve } from './relieve.ts';
import { keyOf } from './rules/situation.ts';
import { beginRun, rememberRun } from './run.ts';
import { type Failed, type TakenByPolicy, takeDue } from './take-due.ts';

export interface ApplyPoliciesOptions {
  /** Those whose policies are applied; all of the pool when absent. */
  readonly volumes?: readonly string[];
  /** Say what would be taken and what would go, and change nothing. */
  readonly dryRun?: boolean;
  /** Whether to tell of every snapshot why it stays or goes; true when absent. */
  readonly decisions?: boolean;
}

/** A snapshot, and why it stays or goes. */
export interface PolicyDecision {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  readonly volume: string;
  readonly name: string;
  /** ISO 8601, UTC, by the clock of the host that took it; absent where it can't be read. */
  readonly created?: string;
  readonly goes: boolean;
  readonly reasons: readonly string[];
  /** In a dry run: it is not there yet, and would be taken. */
  readonly isPlanned?: true;
}

export interface PoliciesApplied extends Omit<Pruned, 'removed'> {
  /** Another process was applying the policies of the pool, so nothing was done. */
  readonly otherRun?: true;
  readonly taken: readonly TakenByPolicy[];
  /** What went, or would, and why. */
  readonly removed: ReadonlyArray<{ readonly reference: string; readonly reason: string }>;
  /** All snapshots of these volumes, as they were judged before anything went. */
  readonly decisions: readonly PolicyDecision[];
  /** Only with less free space than a policy wants: what would go next, one after the other, until there is enough. */
  readonly underPressure: readonly string[];
  readonly failed: readonly Failed[];
  /** The signal fired before the end. */
  readonly cancelled?: true;
}

const nothing = {
  taken: [],
  removed: [],
  decisions: [],
  underPressure: [],
  putOff: [],
  failed: [],
  warnings: [],
} as const satisfies PoliciesApplied;

/**
 * Follows the policies of volumes: takes what is due, then removes what is over. What fails on one volume stops no other, and nothing goes
 * of a volume whose snapshot could not be taken, unless that was for want of space. Whoever comes while another process does this
 * does nothing.
 * @throws CoppiceError not_found for a volume that is not there
 */
export async function applyPolicies(
  context: Context,
  { volumes, dryRun = false, decisions = true }: ApplyPoliciesOptions,
  control: Control,
): Promise<PoliciesApplied> {
  const isWanted = selection(context, volumes);
  using lock = dryRun ? undefined : beginRun(context);
  if (!dryRun && !lock) return { ...nothing, otherRun: true };
  const taking = await takeDue(context, isWanted, dryRun, control);
  const run = { context, isWanted, taking };
  const judged = judgeNow(run, context.driver.space());
  const { warnings } = judged;
  const doomed = doomedAmong(judged.decisions, judged.known);
  const result = { ...nothing, ...taking, decisions: decisions ? told(judged, isWanted) : [], warnings };
  if (dryRun) {
    const removed = doomed.map(({ decision }) => ({
      reference: keyOf(decision),
      reason: reasonOf(decision),
    }));
    return { ...result, removed, underPressure: judged.underPressure.map(keyOf) };
  }
  const first = await prune(context, doomed, control);
  const relief = judged.wantsSpace ? await relieve(run, first.removed.length > 0, control) : noRelief;
  rememberRun(context, Date.now());
  context.driver.commit();
  const pruned = [first, ...relief.pruned];
  return {
    ...result,
    removed: withReasons(pruned, [...doomed, ...relief.doomed]),
    underPressure: relief.left,
    putOff: pruned.flatMap(({ putOff }) => putOff),
    failed: [...taking.failed, ...pruned.flatMap(({ failed }) => failed)],
    warnings: [...warnings, ...pruned.flatMap((each) => each.warnings)],
    ...(control.signal?.aborted && { cancelled: true }),
  };
}

function told({ decisions, known }: Judged, isWanted: (volume: string) => boolean): PolicyDecision[] {
  return decisions.flatMap(({ volume, name, goes, reasons }): PolicyDecision[] => {
    if (!isWanted(volume)) return [];
    const reference = keyOf({ volume, name });
    const about = known.get(reference);
    const created =
      about && Number.isFinite(about.created) ? new Date(about.created).toISOString() : undefined;
    return [
      {
        reference,
        volume,
        name,
        ...(created !== undefined && { created }),
        goes,
        reasons,
        ...(about?.isPlanned && { isPlanned: true }),
      },
    ];
  });
}

function withReasons(pruned: readonly Pruned[], doomed: readonly Doomed[]): PoliciesApplied['removed'] {
  const reasons = new Map(doomed.map(({ decision }) => [keyOf(decision), reasonOf(decision)]));
  return pruned.flatMap(({ removed }) =>
    removed.map((reference) => ({ reference, reason: reasons.get(reference) ?? '' })),
  );
}

function reasonOf({ reasons }: { readonly reasons: readonly string[] }): string {
  return reasons.join(', ');
}
