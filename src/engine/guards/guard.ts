import { declaresStop } from '../../consistency/stop.ts';
import { withAncestors } from '../../linux/processes.ts';
import { randomId } from '../../linux/random.ts';
import { timeLimit } from '../../linux/time-limit.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Consistency, GuardRecord } from '../../model/metadata.ts';
import { thisKeeper } from '../keeper.ts';
import { NotStarted } from '../not-started.ts';
import type { TreeDiff } from '../operations/diff.ts';
import type { Pool } from '../pool.ts';
import { type Supervisor, startSupervisor } from './supervisor.ts';

/** Write down that a change is tried, and that it has ended. */
export interface GuardRecords {
  begin(guard: Pick<GuardRecord, 'id' | 'keeper'>, within?: string): Promise<GuardRecord>;
  end(id: string): Promise<void>;
  /** Returns false where the record is gone. */
  fail(id: string): Promise<boolean>;
}

export interface GuardSubject {
  readonly pool: Pool;
  readonly records: GuardRecords;
  readonly volume: string;
}

export interface GuardOptions {
  /** What the snapshot is to reach; as for any snapshot of the volume when absent. */
  readonly consistency?: Consistency;
  readonly allowWeaker?: boolean;
  /** After which the change counts as failed; never when absent. */
  readonly timeoutMilliseconds?: number;
  readonly signal?: AbortSignal;
  /** The id of the guard that this one is begun in, by what that one runs. */
  readonly within?: string;
}

/** What is given to the change that is tried. */
export interface Guarded {
  readonly id: string;
  /** `VOLUME@NAME` of what it can be undone to. */
  readonly snapshot: string;
  /** Fires when the time is over, or the caller has given up: what is done then is undone. */
  readonly signal: AbortSignal;
  /** Whom to end, before the change is undone, should this process be killed. That is certain when this has returned. */
  runs(pid: number): Promise<void>;
}

export interface Kept<T> {
  readonly result: T;
  readonly snapshot: string;
  /** What has changed in a directory tree since; absent where that can't be told. */
  readonly changes?: TreeDiff;
}

interface WhatWas {
  readonly undo: string | undefined;
  readonly changes: TreeDiff | undefined;
}

/** A change that has failed and was undone. Its cause is why. */
export class Undone extends CoppiceError {
  /** `VOLUME@NAME` of what the volume is back at. */
  readonly snapshot: string;
  /** `VOLUME@NAME` of what the change had come to; absent where there was nothing to keep. */
  readonly undo: string | undefined;
  /** What it had changed in a directory tree; absent where that can't be told. */
  readonly changes: TreeDiff | undefined;

  constructor(volume: string, snapshot: string, { undo, changes }: WhatWas, cause: unknown) {
    const why = cause instanceof Error ? cause.message.replace(/(?<![.?!])$/, '.') : String(cause);
    super(
      'cancelled',
      `The change to ${volume} has failed, and it is back at ${snapshot}${undo === undefined ? '' : ` (${undo} has what it had come to)`}: ${why}`,
      { cause },
    );
    this.snapshot = snapshot;
    this.undo = undo;
    this.changes = changes;
  }
}

/**
 * Tries a change to a volume: takes a snapshot, runs the change, and rolls the volume back if that fails, is given up, or takes too long.
 * A process outside sees to that if this one is killed; and after a power cut `recoverGuard` does. What has the volume open must let go
 * of it before it can be rolled back, or is stopped and started again where the settings say how.
 * @throws Undone when the change has failed and the volume is back; CoppiceError blocked when it can't be rolled back yet: then the
 * process outside does it as soon as it can
 */
export async function guard<T>(
  subject: GuardSubject,
  change: (guarded: Guarded) => Promise<T>,
  options: GuardOptions = {},
): Promise<Kept<T>> {
  const { pool, records, volume } = subject;
  const id = randomId();
  const record = await records.begin({ id, keeper: thisKeeper() }, options.within);
  const supervisor = await startSupervisor(pool, volume, id).catch(async (error) => {
    await records.end(id);
    throw error;
  });
  const snapshot = `${volume}@${record.snapshot}`;
  try {
    await begin(pool, snapshot, options);
  } catch (error) {
    await records.end(id);
    supervisor.dismiss();
    throw error;
  }
  try {
    const result = await within(options, (signal) =>
      change({ id, snapshot, signal, runs: (pid) => supervisor.watch(pid) }),
    );
    await records.end(id);
    supervisor.dismiss();
    const changes = await changesSince(pool, snapshot);
    return { result, snapshot, ...(changes && { changes }) };
  } catch (failure) {
    throw await undo(subject, { record, supervisor, failure });
  }
}

async function begin(pool: Pool, snapshot: string, options: GuardOptions): Promise<void> {
  const { consistency, allowWeaker = false, signal } = options;
  await pool.snapshot(snapshot, {
    allowWeaker,
    reason: 'guard',
    ...(consistency !== undefined && { consistency }),
    ...(signal && { signal }),
  });
}

/** A change that goes on after it was told to end is waited for: it could change what was rolled back. */
async function within<T>(options: GuardOptions, change: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { timeoutMilliseconds, signal } = options;
  const longest = 2 ** 31 - 1;
  using limit = timeLimit(
    Math.min(timeoutMilliseconds ?? longest, longest),
    `it took more than ${(timeoutMilliseconds ?? 0) / 1000} s.`,
    signal,
  );
  const result = await change(limit.signal);
  limit.signal.throwIfAborted();
  return result;
}

interface Failed {
  readonly record: GuardRecord;
  readonly supervisor: Supervisor;
  readonly failure: unknown;
}

/** Returns what is to be thrown. */
async function undo(
  { pool, records, volume }: GuardSubject,
  { record, supervisor, failure }: Failed,
): Promise<unknown> {
  const snapshot = `${volume}@${record.snapshot}`;
  const changes = await changesSince(pool, snapshot);
  try {
    if (!(await records.fail(record.id))) {
      supervisor.dismiss();
      return new CoppiceError(
        'cancelled',
        `The change to ${volume} has failed, and was accepted by somebody else meanwhile, so nothing is undone; it could be by "coppice rollback ${snapshot}".`,
        { cause: failure },
      );
    }
    const { undo: kept, notStarted } = await rollbackFor(pool, volume, record.snapshot);
    await records.end(record.id);
    supervisor.dismiss();
    if (notStarted) {
      return new CoppiceError(
        'io_error',
        `The change to ${volume} has failed and is undone. ${notStarted.message}`,
        {
          cause: failure,
        },
      );
    }
    return new Undone(volume, snapshot, { undo: kept, changes }, failure);
  } catch (error) {
    if (!(error instanceof CoppiceError)) return error;
    const waits = error.code === 'blocked' && isFromInside(error);
    if (waits) supervisor.undo();
    else supervisor.dismiss();
    const later = waits
      ? 'it will be, as soon as those who have started this have let go of it'
      : `when nothing stands in the way any more, undo it with "coppice guard ${volume} --recover", or leave it with --accept`;
    return new CoppiceError(
      error.code,
      `The change to ${volume} has failed, and it is not back at ${snapshot} yet; ${later}: ${error.message}`,
      { blockers: error.blockers, cause: failure },
    );
  }
}

/**
 * Whether nobody stands in the way but who has started this, and so waits for it to end. For anybody else it is not known when he will be
 * done, and what else is written until then.
 */
function isFromInside({ blockers }: CoppiceError): boolean {
  const above = new Set(withAncestors(process.pid).map(({ pid }) => pid));
  if (blockers.length === 0) return false;
  return blockers.every(({ kind, what }) => {
    const pid = Number(/ is open in process (\d+) /.exec(what)?.[1]);
    return kind === 'open' && above.has(pid);
  });
}

/** As many changes as somebody reads. */
const mostChanges = 1000;

/** That it can't be told must not keep anything from being undone. */
async function changesSince(pool: Pool, snapshot: string): Promise<TreeDiff | undefined> {
  try {
    return await pool.diff(snapshot, undefined, { limit: mostChanges });
  } catch {
    return undefined;
  }
}

/** What runs on the volume is stopped meanwhile where it is known how. */
export async function rollbackFor(
  pool: Pool,
  volume: string,
  snapshot: string,
): Promise<{ readonly undo?: string; readonly notStarted?: NotStarted }> {
  const stop = declaresStop(await pool.settings(volume));
  try {
    const { undo } = await pool.rollback(`${volume}@${snapshot}`, { stop });
    return undo === undefined ? {} : { undo };
  } catch (error) {
    if (!(error instanceof NotStarted)) throw error;
    const { undo } = error.rolledBack;
    return { notStarted: error, ...(undo !== undefined && { undo }) };
  }
}
