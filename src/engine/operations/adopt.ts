import { setImmediate as turn } from 'node:timers/promises';
import type { Held } from '../../drivers/driver.ts';
import type { ImageFormat } from '../../images/format.ts';
import { flush } from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { type Blocker, blockedBy, CoppiceError, type ErrorData } from '../../model/errors.ts';
import { printable } from '../../model/printable.ts';
import { openEntries } from '../adoption/entries.ts';
import { type MadeDisk, makeDisk } from '../adoption/make.ts';
import { removeOriginal } from '../adoption/original.ts';
import { type AdoptOptions, type DiskType, type PlannedDisk, planAdoption } from '../adoption/plan.ts';
import { holdVolumeOf } from '../adoption/volumes.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { announceWork } from '../disk-work.ts';
import { busy, explainFailure } from '../failures.ts';
import { findWork } from '../holding.ts';
import { holdPool } from '../pool-lock.ts';
import { abandon } from '../publish.ts';
import { takingLocks } from '../waiting.ts';

export interface AdoptedDisk {
  readonly file: string;
  readonly name: string;
  readonly type: DiskType;
  /** Absent in a dry run. */
  readonly id?: string;
  readonly bytes: number;
  readonly format: ImageFormat;
  /** Whether it shares its blocks with the file, so that it takes no space; absent when it was made before. */
  readonly shared?: boolean;
  /** It was made from this very file before. */
  readonly before?: true;
  /** The size of the image, where it had to be rounded up. */
  readonly roundedFrom?: number;
  /** How many snapshots a qcow2 image has inside, which were left out. */
  readonly snapshotsLeftOut?: number;
  readonly originalRemoved: boolean;
}

export interface Adopted {
  /** What is in the pool now, or would be. */
  readonly adopted: readonly AdoptedDisk[];
  /** What lies beside the disks and is none. */
  readonly skipped: ReadonlyArray<{ readonly file: string; readonly reason: string }>;
  /** What could not be adopted, or whose original could not be removed. */
  readonly failed: ReadonlyArray<{
    readonly file: string;
    readonly name: string;
    readonly error: ErrorData;
  }>;
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** The signal fired before all were made; those in `adopted` stay. */
  readonly cancelled?: true;
}

/**
 * Makes volumes and templates from disks that lie in directories, by sharing their blocks. All are looked at first: if one can't
 * be adopted, none is. Then each is made for itself, and those that fail are listed. Run again, it goes on where it ended.
 */
export async function adopt(
  context: Context,
  sources: readonly string[],
  options: AdoptOptions,
  control: Control,
): Promise<Adopted> {
  if (options.as !== undefined && options.as !== 'template' && options.as !== 'volume')
    throw new CoppiceError('invalid_argument', `"${options.as}" is neither "template" nor "volume".`);
  using stack = new DisposableStack();
  using work = await takingLocks(context, control, 'adoption', (open) => announceAdoption(open, options));
  try {
    const entries = openEntries(context, sources, options, stack);
    const { disks, skipped } = planAdoption(context, work, entries, options);
    const blockers = [
      ...new Map(disks.flatMap((disk) => disk.blockers).map((each) => [each.what, each])).values(),
    ];
    const ready = disks.filter((disk) => disk.blockers.length === 0);
    if (options.dryRun) {
      const adopted = ready.map((disk) => summary(disk, willRemove(disk, options)));
      return { adopted, skipped, failed: [], blockers };
    }
    if (blockers.length > 0 && !options.keepGoing)
      throw blockedBy(`Could not adopt ${printable(sources.join(', '))}`, blockers);
    const refused = disks.filter((disk) => disk.blockers.length > 0).map(refusal);
    const done = await adoptAll(context, ready, options, control);
    return { ...done, skipped, failed: [...refused, ...done.failed] };
  } finally {
    abandon(context, work);
  }
}

/** Only one adoption at a time in a pool: of two of the same files, the second finds what the first has made. */
function announceAdoption(context: Context, { dryRun }: AdoptOptions): Held {
  if (dryRun) return announceWork(context, 'adopt', `look-${randomId()}`);
  using _lock = holdPool(context, 'exclusive');
  const name = '.adoption'; // which no volume can have
  if (findWork(context, name)) throw busy('another adoption');
  return announceWork(context, 'adopt', name);
}

async function adoptAll(
  context: Context,
  disks: readonly PlannedDisk[],
  options: AdoptOptions,
  control: Control,
): Promise<Omit<Adopted, 'skipped'>> {
  const adopted: AdoptedDisk[] = [];
  const failed: Array<Adopted['failed'][number]> = [];
  for (const [index, disk] of disks.entries()) {
    const report = (fraction: number): void =>
      control.report({ step: disk.name, fraction: (index + fraction) / disks.length });
    report(0);
    // Where operations run in this thread, nothing else would let it hear of the signal.
    if (control.signal) await turn();
    if (control.signal?.aborted) return { adopted, failed, cancelled: true };
    try {
      const ownControl = { ...control, report: ({ fraction }: { fraction: number }) => report(fraction) };
      const made = disk.before ?? (await makeDisk(context, disk, ownControl));
      adopted.push(summary(disk, false, made));
      if (!willRemove(disk, options)) continue;
      using _volume = await holdVolumeOf(context, disk, made.id, ownControl);
      context.driver.commit();
      removeOriginal(disk.entry, made.file);
      adopted[adopted.length - 1] = summary(disk, true, made);
      flush(disk.entry.directory.fd);
    } catch (error) {
      if (control.signal?.aborted) return { adopted, failed, cancelled: true };
      const explained = explainFailure(`adopt ${disk.entry.label}`, error);
      if (!(explained instanceof CoppiceError)) throw explained;
      failed.push({ file: disk.entry.path, name: disk.name, error: explained.toJSON() });
    }
  }
  return { adopted, failed };
}

function willRemove(disk: PlannedDisk, options: AdoptOptions): boolean {
  return options.removeOriginals === true && !disk.inUse;
}

function refusal({ entry, name, blockers }: PlannedDisk): Adopted['failed'][number] {
  return {
    file: entry.path,
    name,
    error: blockedBy(`Could not adopt ${entry.label}`, blockers).toJSON(),
  };
}

function summary(disk: PlannedDisk, originalRemoved: boolean, made?: MadeDisk): AdoptedDisk {
  const { entry, name, type, image, before, whyCopied } = disk;
  if (!image) throw new Error(`${entry.label} is ready without having been read.`);
  const { bytes, imageBytes, format, snapshots } = image;
  return {
    file: entry.path,
    name,
    type,
    ...(made && { id: made.id }),
    bytes,
    format,
    ...(before ? { before: true } : { shared: whyCopied === undefined }),
    ...(bytes !== imageBytes && { roundedFrom: imageBytes }),
    ...(snapshots > 0 && { snapshotsLeftOut: snapshots }),
    originalRemoved,
  };
}
