import { join } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';
import type { DataDirectory } from './data-directory.ts';
import { findPrograms, runAs } from './programs.ts';

/** What the program `pg_controldata` says of a cluster. */
export type ControlData = ReadonlyMap<string, string>;

/** @throws CoppiceError damaged */
export async function readControlData(directory: DataDirectory, given?: string): Promise<ControlData> {
  const program = join(findPrograms(directory.version, given), 'pg_controldata');
  const { code, output, errors } = await runAs(directory.owner, program, ['-D', directory.path]);
  const lines = output.split('\n').map((line) => /^([^:]+):\s+(.*)$/.exec(line));
  const data = new Map(lines.flatMap((line) => (line ? [[line[1] ?? '', line[2] ?? ''] as const] : [])));
  if (code === 0 && data.size > 0 && !/WARNING|warning/.test(output)) return data;
  if (/Permission denied/.test(errors)) {
    throw new CoppiceError(
      'permission_denied',
      `The user that the cluster in ${directory.path} belongs to can't get there; one of the directories above it is closed to others, and "chmod o+x" opens it.`,
    );
  }
  throw new CoppiceError(
    'damaged',
    `The file global/pg_control in ${directory.path} can't be read: ${errors.trim() || output.trim().split('\n')[0] || 'pg_controldata said nothing'}.`,
  );
}

/** The first line of each file that was made here. */
export const mark = '# Made by Coppice for a copy of a cluster.';

/**
 * The whole of the settings of a copy. Nothing of those of the original is taken over: they say where it archives, whom it follows, what it
 * loads and where it listens. Only what the WAL cannot be replayed without is the same.
 * @param own those of the user, which come last
 */
export function copySettings(
  control: ControlData,
  {
    socketDirectory,
    port,
    isStandby,
    own,
  }: {
    readonly socketDirectory: string;
    readonly port: number;
    readonly isStandby: boolean;
    readonly own: Readonly<Record<string, string>>;
  },
): string {
  const settings: Record<string, string> = {
    listen_addresses: '',
    port: String(port),
    unix_socket_directories: socketDirectory,
    unix_socket_permissions: '0700',
    archive_mode: 'off',
    // A copy of a standby takes what WAL it has, and then goes its own way.
    ...(isStandby && { restore_command: 'false' }),
    max_logical_replication_workers: '0',
    logging_collector: 'off',
    log_destination: 'stderr',
    lc_messages: 'C',
    cluster_name: 'copy',
    ...Object.fromEntries(
      replayed.flatMap(([name, label, least]) => {
        const value = control.get(label);
        return value === undefined || !/^\d+$/.test(value)
          ? []
          : [[name, String(Math.max(Number(value), least))]];
      }),
    ),
    wal_level: walLevel(control.get('wal_level setting')),
    track_commit_timestamp: control.get('track_commit_timestamp setting') === 'on' ? 'on' : 'off',
    ...own,
  };
  const lines = Object.entries(settings).map(
    ([name, value]) => `${checkedName(name)} = ${quoted(name, value)}`,
  );
  return [mark, ...lines, ''].join('\n');
}

/** Names, what `pg_controldata` calls them, and the least that a server starts with. */
const replayed: ReadonlyArray<readonly [name: string, label: string, least: number]> = [
  ['max_connections', 'max_connections setting', 10],
  ['max_worker_processes', 'max_worker_processes setting', 0],
  ['max_wal_senders', 'max_wal_senders setting', 0],
  ['max_prepared_transactions', 'max_prepared_xacts setting', 0],
  ['max_locks_per_transaction', 'max_locks_per_xact setting', 10],
];

/** With the lowest, no sender may be allowed; and what a standby has got was at least the second. */
function walLevel(level: string | undefined): string {
  return level === 'logical' ? 'logical' : 'replica';
}

function checkedName(name: string): string {
  if (/^[a-z_]{1,63}(\.[a-z0-9_]{1,63})?$/i.test(name)) return name;
  throw new CoppiceError('invalid_argument', `"${name}" is no name of a setting of PostgreSQL.`);
}

function quoted(name: string, value: string): string {
  if (/^[^\0\r\n]*$/.test(value)) return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
  throw new CoppiceError('invalid_argument', `The value of ${name} has more than one line.`);
}

/** Only who may enter the directory of the socket gets as far as this. */
export const copyAccess: string = `${mark}\nlocal all all trust\n`;
