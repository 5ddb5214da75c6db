import { randomBytes } from 'node:crypto';
import { CoppiceError } from '../../model/errors.ts';
import { parsePosition } from './control-file.ts';
import type { Session } from './session.ts';

export interface Backup {
  readonly label: string;
  readonly start: bigint;
  readonly stop: bigint;
  readonly timeline: number;
  /** The file `backup_label`. */
  readonly labelFile: string;
}

/**
 * Has the server begin a backup, and keep all WAL from now on. Both are bound to the session: when that ends, by whatever, the
 * server ends the backup and forgets the slot. Nothing is held up by it.
 * @returns the label of the backup
 * @throws CoppiceError
 */
export async function startBackup(
  session: Session,
  { major, user, signal }: { readonly major: number; readonly user: string; readonly signal: AbortSignal },
): Promise<string> {
  const mark = randomBytes(6).toString('hex');
  const [slot, label] = [`coppice_${mark}`, `coppice ${mark}`];
  const reserveAtOnce = 'SELECT pg_create_physical_replication_slot($1, true, true)';
  await session.query(
    reserveAtOnce,
    signal,
    {
      what: 'make it keep the WAL by a replication slot (which takes wal_level = replica)',
      grant: `ALTER ROLE "${user}" REPLICATION`,
    },
    [slot],
  );
  const [start, stop] =
    major < 15
      ? ['pg_start_backup(text, boolean, boolean)', 'pg_stop_backup(boolean, boolean)']
      : ['pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)'];
  await session.query(
    major < 15 ? 'SELECT pg_start_backup($1, true, false)' : 'SELECT pg_backup_start($1, true)',
    signal,
    {
      what: 'begin a backup',
      grant: `GRANT EXECUTE ON FUNCTION ${start}, ${stop} TO "${user}" (in the database that is connected to)`,
    },
    [label],
  );
  return label;
}

/** Ends the backup; the slot stays until the session ends. @throws CoppiceError also where the backup was not going on any more */
export async function stopBackup(
  session: Session,
  label: string,
  { major, signal }: { readonly major: number; readonly signal: AbortSignal },
): Promise<Backup> {
  const stop = major < 15 ? 'pg_stop_backup(false, false)' : 'pg_backup_stop(false)';
  const [row] = await session.query(`SELECT lsn::text AS lsn, labelfile FROM ${stop}`, signal, {
    what: 'end the backup, so that there is no snapshot',
  });
  const labelFile = String(row?.['labelfile'] ?? '');
  const startText = /^START WAL LOCATION: (\S+) /m.exec(labelFile)?.[1] ?? '';
  const timeline = Number(/^START TIMELINE: (\d{1,10})$/m.exec(labelFile)?.[1]);
  const [start, end] = [parsePosition(startText), parsePosition(String(row?.['lsn'] ?? ''))];
  if (start === undefined || end === undefined || end <= start || !(timeline > 0)) {
    throw new CoppiceError(
      'io_error',
      `The server has ended the backup "${label}" with a label that makes no sense; no snapshot was taken.`,
    );
  }
  return { label, start, stop: end, timeline, labelFile };
}
