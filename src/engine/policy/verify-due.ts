import { provable } from '../../consistency/proof.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata } from '../../model/metadata.ts';
import { type Name, parseName } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import { type Control, progressOf } from '../control.ts';
import { explainFailure } from '../failures.ts';
import { holdSnapshot, holdVolume } from '../holding.ts';
import { type Verified, verify } from '../operations/verify.ts';
import { inStorageOrder } from '../snapshot-order.ts';
import { timestamp } from '../timestamp.ts';
import { contentsOf } from '../visible.ts';
import { selection } from './read.ts';
import { policyIn } from './rules/policy.ts';
import type { Schedule } from './rules/schedule.ts';
import { compare } from './rules/situation.ts';
import { beginRun } from './run.ts';
import type { Failed } from './take-due.ts';

export interface VerifyDueOptions {
  /** Those whose snapshots are proven; all of the pool when absent. */
  readonly volumes?: readonly string[];
  /** Say what would be proven, and start nothing. */
  readonly dryRun?: boolean;
}

export interface DueVerified {
  /** Another process was proving snapshots of the pool, so nothing was done. */
  readonly otherRun?: true;
  /** The snapshots that are due: all that was tried, and in a dry run what would be. */
  readonly due: readonly string[];
  readonly verified: readonly Verified[];
  /** What could not be looked at, so that nothing is known of it: it is tried again in the next period. */
  readonly failed: readonly Failed[];
  /** The signal fired before the end. */
  readonly cancelled?: true;
}

/**
 * Proves of each volume that wants it by now the newest snapshot that was taken for its database. It may take hours, so it is no part of the
 * application of policies, and neither waits for the other. What fails on one volume stops no other.
 * @throws CoppiceError not_found for a volume that is not there
 */
export async function verifyDue(
  context: Context,
  { volumes, dryRun = false }: VerifyDueOptions,
  control: Control,
): Promise<DueVerified> {
  const isWanted = selection(context, volumes);
  using lock = dryRun ? undefined : beginRun(context, 'verify');
  if (!dryRun && !lock) return { otherRun: true, due: [], verified: [], failed: [] };
  const candidates = candidatesIn(context, isWanted, Date.now());
  const due = candidates.map(referenceOf);
  const verified: Verified[] = [];
  const failed: Failed[] = [];
  if (dryRun) return { due, verified, failed };
  for (const [index, candidate] of candidates.entries()) {
    if (control.signal?.aborted) break;
    control.report(progressOf('verifying', index, candidates.length));
    const result = await tryToVerify(context, candidate, control);
    if (result && 'error' in result) failed.push(result);
    else if (result) verified.push(result);
    context.driver.commit();
  }
  return { due, verified, failed, ...(control.signal?.aborted && { cancelled: true }) };
}

interface Candidate {
  readonly volume: Name;
  readonly name: Name;
}

function referenceOf({ volume, name }: Candidate): string {
  return `${volume}@${name}`;
}

function candidatesIn(context: Context, isWanted: (volume: string) => boolean, now: number): Candidate[] {
  return contentsOf(context)
    .flatMap(({ volume: { name: volume, metadata }, snapshots }): Candidate[] => {
      if (metadata?.type !== 'volume' || metadata.sealed || !isWanted(volume)) return [];
      const { settings = {} } = metadata;
      const schedule = scheduleIn(settings);
      const { applications, program } = provable(settings);
      if (!schedule || (applications.length === 0 && program === undefined)) return [];
      const known = snapshots.flatMap(({ metadata: about }) => (about?.type === 'snapshot' ? [about] : []));
      const last = lastTime(known, now);
      if (last !== undefined && schedule.slotAt(last) === schedule.slotAt(now)) return [];
      const newest = inStorageOrder(snapshots).findLast(
        ({ metadata: about }) =>
          about?.type === 'snapshot' && (applications.length === 0 || isOfDatabase(about)),
      );
      return newest ? [{ volume: parseName(volume), name: parseName(newest.name) }] : [];
    })
    .sort((a, b) => compare(a.volume, b.volume));
}

/** What is not understood is told by the application of policies. */
function scheduleIn(settings: Settings): Schedule | undefined {
  try {
    return policyIn(settings)?.verify;
  } catch (error) {
    if (error instanceof CoppiceError) return undefined;
    throw error;
  }
}

function isOfDatabase({ consistency }: SnapshotMetadata): boolean {
  return consistency === 'application' || consistency === 'cold';
}

/** When one of them was last proven, or could not be. What says that it comes from the future says nothing. */
function lastTime(snapshots: readonly SnapshotMetadata[], now: number): number | undefined {
  const times = snapshots
    .flatMap(({ verified, verifyTried }) => [verified?.at, verifyTried])
    .map((time) => (time === undefined ? Number.NaN : Date.parse(time)))
    .filter((time) => time <= now);
  return times.length > 0 ? Math.max(...times) : undefined;
}

/** Undefined: it has gone meanwhile, or there is no time for it. */
async function tryToVerify(
  context: Context,
  candidate: Candidate,
  control: Control,
): Promise<Verified | Failed | undefined> {
  const reference = referenceOf(candidate);
  const began = performance.now();
  try {
    const verified = await verify(context, reference, {}, control);
    context.audit?.append('verify', [reference, { reason: 'policy' }], began, undefined);
    return verified;
  } catch (error) {
    context.audit?.append('verify', [reference, { reason: 'policy' }], began, error);
    const explained = explainFailure(`verify ${reference}`, error);
    if (!(explained instanceof CoppiceError)) throw explained;
    if (explained.code === 'cancelled' || !rememberTry(context, candidate)) return undefined;
    return { reference, error: explained.toJSON() };
  }
}

/** False: it has gone. */
function rememberTry(context: Context, { volume: volumeName, name }: Candidate): boolean {
  try {
    using volume = holdVolume(context, volumeName, 'shared');
    using held = holdSnapshot(context, volume, name, 'exclusive');
    const metadata = context.driver.read(held);
    if (metadata?.type === 'snapshot')
      context.driver.write(held, { ...metadata, verifyTried: timestamp() } satisfies SnapshotMetadata);
    return true;
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    // Somebody else has it: then it is tried again sooner.
    return error.code !== 'not_found';
  }
}
