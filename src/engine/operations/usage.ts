import type { CachedUsage, Held, SnapshotRecord } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import { formatReference, type Name, parseReference, type Reference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { type Control, progressOf } from '../control.ts';
import { explainFailure } from '../failures.ts';
import { holdSource } from '../holding.ts';
import { timestamp } from '../timestamp.ts';
import { contentsOf } from '../visible.ts';

export interface UsageOptions {
  /** Walk every extent, after what was deleted is really freed. */
  readonly exact?: boolean;
}

export interface Usage {
  /** `VOLUME` or `VOLUME@SNAPSHOT`. */
  readonly reference: string;
  /** Bytes of the disk as a guest sees it. */
  readonly logicalBytes: number;
  /**
   * Bytes of blocks that it refers to, shared ones included. Measured with `exact`, it includes the blocks that it has replaced
   * and holds on to, because the extents that they lie in are still in use.
   */
  readonly referencedBytes: number;
  /** Bytes of extents that nothing else refers to, not even a snapshot of it: what removing just this would free. Absent when never measured. */
  readonly exclusiveBytes?: number;
  /** When the exclusive bytes were true: ISO 8601, UTC. */
  readonly exclusiveAt?: string;
  /** How many times larger its data would be without compression; absent where the storage doesn't tell. */
  readonly compressRatio?: number;
}

export interface UsageReport {
  readonly usages: readonly Usage[];
  /** False when the kernel could not be waited for, so that blocks of what was just deleted may still count as shared. */
  readonly settled?: boolean;
  /** Directory trees that were not looked at, because all of their files would have to be; named, or with `exact`, they are. */
  readonly leftOut?: readonly string[];
}

/**
 * How much each volume and snapshot takes. Logical and referenced bytes are read live; the exclusive bytes are the last ones
 * measured with `exact`, or those at birth.
 */
export function usage(
  context: Context,
  references: readonly string[],
  options: UsageOptions,
  control: Control,
): UsageReport {
  const named = references.length > 0;
  if (!named && !options.exact) {
    const all = everything(context);
    const leftOut = all.flatMap((each) => (each.usage ? [] : [formatReference(each.reference)]));
    return { usages: all.flatMap((each) => each.usage ?? []), ...(leftOut.length > 0 && { leftOut }) };
  }
  const wanted = named ? references.map(parseReference) : everything(context).map((each) => each.reference);
  const settled = options.exact ? context.driver.settle() : undefined;
  const measureOne = named ? measure : measureIfWhole;
  const usages = wanted.flatMap((reference, index) => {
    if (options.exact) control.report(progressOf('measuring', index, wanted.length));
    return measureOne(context, reference, options.exact ?? false) ?? [];
  });
  return { usages, ...(settled !== undefined && { settled }) };
}

/** Among everything, what has been removed meanwhile or is damaged is left out; `pool check` reports it. */
function measureIfWhole(context: Context, reference: Reference, exact: boolean): Usage | undefined {
  try {
    return measure(context, reference, exact);
  } catch (error) {
    const explained = explainFailure(`measure ${formatReference(reference)}`, error);
    if (explained instanceof CoppiceError && ['not_found', 'damaged'].includes(explained.code))
      return undefined;
    throw explained;
  }
}

function measure(context: Context, reference: Reference, exact: boolean): Usage {
  using volume = holdSource(context, reference);
  const { exclusiveBytes, ...measured } = context.driver.usage(volume.source, exact ? 'exact' : 'cheap');
  const label = { reference: formatReference(reference), ...measured };
  if (exclusiveBytes !== undefined) {
    const cached = { exclusiveBytes, at: timestamp() };
    remember(context, volume.source, cached);
    return { ...label, exclusiveBytes, exclusiveAt: cached.at };
  }
  const cached = context.driver.recallUsage(volume.source) ?? atBirth(volume.metadata, reference);
  return withCached(label, cached);
}

function withCached(usage: Usage, cached: CachedUsage | undefined): Usage {
  return cached ? { ...usage, exclusiveBytes: cached.exclusiveBytes, exclusiveAt: cached.at } : usage;
}

/** A clone shares everything when it is made. Of a snapshot nothing is known until it is measured. */
function atBirth(
  metadata: { readonly created: string; readonly origin: readonly unknown[]; readonly method: string },
  reference: Reference,
): CachedUsage | undefined {
  if (reference.snapshot || (metadata.origin.length === 0 && metadata.method !== 'create')) return undefined;
  return { exclusiveBytes: 0, at: metadata.created };
}

function remember(context: Context, held: Held, usage: { exclusiveBytes: number; at: string }): void {
  try {
    context.driver.rememberUsage(held, usage);
  } catch {
    // Only a cache: who may read but not write still gets the answer.
  }
}

interface Measured {
  readonly reference: Reference;
  /** Absent of a directory tree whose storage doesn't count what is in it: it is measured when it is named, or all are. */
  readonly usage: Usage | undefined;
}

/**
 * Every volume and snapshot with what is known without walking extents. Nothing is held for that: each number was true while this
 * ran, and to hold each of thousands would take three times as long, and wait for whoever works on one of them.
 */
function everything(context: Context): Measured[] {
  return contentsOf(context, 'usage')
    .flatMap(({ volume: record, snapshots }) => {
      const { metadata } = record;
      if (metadata?.type !== 'volume') return [];
      const volume = record.name as Name;
      return [
        known({ volume }, record, atBirth(metadata, { volume })),
        ...snapshots.map((each) => known({ volume, snapshot: each.name as Name }, each, undefined)),
      ];
    })
    .filter((each) => each !== undefined)
    .sort((a, b) => (formatReference(a.reference) < formatReference(b.reference) ? -1 : 1));
}

function known(
  reference: Reference,
  { bytes, allocatedBytes, measured, compressRatio, isTree }: SnapshotRecord,
  otherwise: CachedUsage | undefined,
): Measured | undefined {
  if (isTree && bytes === undefined) return { reference, usage: undefined };
  if (bytes === undefined || allocatedBytes === undefined) return undefined;
  const usage = {
    reference: formatReference(reference),
    logicalBytes: bytes,
    referencedBytes: allocatedBytes,
    ...(compressRatio !== undefined && { compressRatio }),
  };
  return { reference, usage: withCached(usage, measured ?? otherwise) };
}
