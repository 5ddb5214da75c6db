import { statSync } from 'node:fs';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { readControlFile } from './control-file.ts';
import { type DataDirectory, readBelow } from './data-directory.ts';
import { anotherCluster, type OpenedSession, serverOf } from './open-session.ts';
import type { Row } from './session.ts';

/** What a server says of itself. */
export interface ServerFacts {
  /** As it is written: `15.18 (Debian 15.18-0+deb12u1)`. */
  readonly version: string;
  readonly major: number;
  readonly isStandby: boolean;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly segmentBytes: number;
  /** Not at once on disk what is acknowledged. */
  readonly synchronousCommit: string;
}

/**
 * Asks the server, and makes sure that it is the one of that directory and that a copy of its files can be recovered.
 * @throws CoppiceError
 */
export async function serverFacts(
  { session, isProven }: OpenedSession,
  directory: DataDirectory,
  signal: AbortSignal,
): Promise<ServerFacts> {
  const [row] = await session.query(questionFor(directory.version), signal, {
    what: 'ask it for its settings',
  });
  if (!row) throw new CoppiceError('io_error', `${serverOf(directory)} gave no answer.`);
  const text = (name: string): string => String(row[name] ?? '');
  requireSame(directory, row, isProven);
  if (text('fsync') !== 'on') throw lossy(directory, 'fsync', 'what it has acknowledged may be nowhere');
  if (text('full_page_writes') !== 'on')
    throw lossy(directory, 'full_page_writes', 'pages that were half written can not be put right');
  if (row['in_exclusive_backup'] === true || readBelow(directory.fd, 'backup_label', 1)) {
    throw new CoppiceError(
      'busy',
      `${serverOf(directory)} is in an exclusive backup that somebody else has begun, which leaves a file backup_label in all copies: wait for its end, or end it by SELECT pg_stop_backup().`,
    );
  }
  return {
    version: text('version'),
    major: Math.floor(Number(row['number']) / 10_000),
    isStandby: row['standby'] === true,
    systemIdentifier: text('system_identifier'),
    timeline: Number(row['timeline_id']),
    segmentBytes: Number(row['wal_segment_size']),
    synchronousCommit: text('synchronous_commit'),
  };
}

/** Everybody may ask this; what is only for some is null for the others. */
const questionFor = (version: number): string => `
  SELECT ${version < 15 ? 'pg_is_in_backup()' : 'false'} AS in_exclusive_backup,
         current_setting('server_version') AS version,
         current_setting('server_version_num')::int AS number,
         pg_is_in_recovery() AS standby,
         current_setting('fsync') AS fsync,
         current_setting('full_page_writes') AS full_page_writes,
         current_setting('synchronous_commit') AS synchronous_commit,
         (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
         (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS wal_segment_size,
         system_identifier::text, timeline_id
    FROM pg_control_system(), pg_control_checkpoint()`;

function requireSame(directory: DataDirectory, row: Row, isProven: boolean): void {
  const control = readControlFile(directory.fd);
  const identifier = String(row['system_identifier']);
  if (control && control.systemIdentifier !== identifier)
    throw anotherCluster(
      directory,
      `its system identifier is ${identifier}, not ${control.systemIdentifier}`,
    );
  if (isProven) return;
  // In a container its path means nothing here; then there is no proof, and none is claimed.
  const path = row['data_directory'];
  if (typeof path === 'string' && isTheSame(path, directory)) return;
  throw new CoppiceError(
    'permission_denied',
    `It can't be seen whether the server that answers is that of ${directory.path}: run as root and connect by its socket, or let the role read its settings by GRANT pg_read_all_settings TO it.`,
  );
}

function isTheSame(path: string, { fd }: DataDirectory): boolean {
  try {
    const [theirs, ours] = [path, `/proc/self/fd/${fd}`].map((each) => statSync(each, { bigint: true }));
    return theirs?.dev === ours?.dev && theirs?.ino === ours?.ino;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) return false;
    throw error;
  }
}

function lossy(directory: DataDirectory, setting: string, why: string): CoppiceError {
  return new CoppiceError(
    'unsupported',
    `${serverOf(directory)} runs with ${setting} = off: after a crash, as which it starts from a snapshot, ${why}; turn it on, or stop the server for the snapshot.`,
  );
}
