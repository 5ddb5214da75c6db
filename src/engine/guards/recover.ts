import { blockedBy, CoppiceError } from '../../model/errors.ts';
import { type GuardSubject, rollbackFor } from './guard.ts';

export interface Recovered {
  /** What became of the change: `undone`, `accepted`, or `nothing` where it had not begun. */
  readonly outcome: 'undone' | 'accepted' | 'nothing';
  /** `VOLUME@NAME` of what it could be undone to. */
  readonly snapshot: string;
  /** `VOLUME@NAME` of what it had come to, where it was undone. */
  readonly undo?: string;
}

/**
 * Ends a change that was being tried when whoever tried it died: undoes it, or leaves it as it is.
 * @param id of the one that is meant; the outermost of the volume when absent
 * @throws CoppiceError not_found when there is none, blocked while whoever tries it is alive
 */
export async function recoverGuard(
  { pool, records, volume }: GuardSubject,
  what: 'undo' | 'accept',
  id?: string,
): Promise<Recovered> {
  const guards = await pool.guards(volume);
  const guard = id === undefined ? guards[0] : guards.find((each) => each.id === id);
  if (!guard) throw new CoppiceError('not_found', `No change to ${volume} is being tried.`);
  const alive = guards.find((each) => each.isAlive && !each.failed);
  if (alive && id === undefined) {
    throw blockedBy(`Could not end the guard of ${volume}`, [
      {
        kind: 'guard',
        what: `process ${alive.keeper.pid} is trying a change to it since ${alive.since}`,
        remedy: 'wait until it has ended, or stop it: then it undoes the change',
      },
    ]);
  }
  const snapshot = `${volume}@${guard.snapshot}`;
  if (what === 'accept' || !guard.isBegun) {
    await records.end(guard.id);
    return { outcome: guard.isBegun ? 'accepted' : 'nothing', snapshot };
  }
  const { undo, notStarted } = await rollbackFor(pool, volume, guard.snapshot);
  await records.end(guard.id);
  if (notStarted) throw notStarted;
  return { outcome: 'undone', snapshot, ...(undo !== undefined && { undo }) };
}
