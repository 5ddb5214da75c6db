import { constants, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { statusIfAny } from '../../linux/file-status.ts';
import { flush, moveAt, openDirectoryIfAny, removeFileAt } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { emptyDirectory, realDirectory, relativeLink, removeEntry, writeFile, writeLink } from './amend.ts';
import { copyAccess, copySettings, mark, readControlData } from './copy-settings.ts';
import { type DataDirectory, openDataDirectory, pathBelow, readBelow } from './data-directory.ts';
import { meantBy } from './links.ts';
import { serverOf } from './open-session.ts';
import { serverProcesses } from './server-processes.ts';

export interface SafeOptions {
  /** The data directory, from the directory of the copy. */
  readonly below: string;
  /** Where the copy's server makes its socket: a directory that only the owner of the cluster may enter. */
  readonly socketDirectory: string;
  /** 5432 when absent; it is only part of the socket's name. */
  readonly port?: number;
  /** The directories under which the live volume was known: links to the inside of them mean the copy. */
  readonly formerly?: readonly string[];
  /** The copies of other volumes that parts of the cluster lie in, by the names of those volumes. */
  readonly volumes?: Readonly<Record<string, string>>;
  /** The directories under which those volumes themselves are known: links to the inside of them mean the copies, too. */
  readonly formerlyOf?: Readonly<Record<string, readonly string[]>>;
  /** Settings of the copy's server, on top of the safe ones: such as shared_buffers, or libraries that its tables need. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The directory of PostgreSQL's programs, where they are not in the usual place. */
  readonly programs?: string;
}

/**
 * Makes a writable copy of a data directory such that a server started on it, now or by anybody later, does nothing outside of it:
 * it archives and follows nothing, listens on no network, and holds back no WAL for others. The files with settings are kept beside
 * the new ones, as `*.original`. Can be called again.
 * @param copy the directory of the copy of the volume
 * @throws CoppiceError busy when a server runs on it; unsupported when a part of the cluster is not in the copy; damaged
 */
export async function makeSafe(copy: string, options: SafeOptions): Promise<void> {
  using directory = openDataDirectory(copy, options.below);
  const { fd, owner } = directory;
  const { pids } = serverProcesses(directory);
  if (pids.length > 0)
    throw new CoppiceError(
      'busy',
      `${serverOf(directory)} runs (process ${pids[0]}), so it is no copy to be changed.`,
    );
  checkSocketDirectory(options);
  // Before anything is changed, so that what can't be made safe stays as it is.
  const links = linksOf(directory, copy, options);
  const control = await readControlData(directory, options.programs);
  const isStandby =
    statusIfAny(fd, 'standby.signal') !== undefined ||
    /recovery/.test((control.get('Database cluster state') ?? '').replace('in crash recovery', ''));

  for (const [name, target] of links) await writeLink(fd, name, target, owner);
  requireInside(directory, links, [copy, ...Object.values(options.volumes ?? {})]);
  if (isLink(directory, 'pg_stat_tmp')) realDirectory(fd, 'pg_stat_tmp', owner)[Symbol.dispose]();
  for (const name of [
    'postmaster.pid',
    'postmaster.opts',
    'standby.signal',
    'recovery.signal',
    'recovery.conf',
  ])
    removeEntry(fd, name);
  if (statusIfAny(fd, 'pg_replslot')) emptyDirectory(fd, 'pg_replslot');
  emptyArchiveStatus(directory);
  for (const name of ['postgresql.conf', 'postgresql.auto.conf', 'pg_hba.conf', 'pg_ident.conf'])
    keepOriginal(directory, name);
  if (isStandby) writeFile(fd, 'recovery.signal', '', owner);
  writeFile(fd, 'postgresql.auto.conf', `${mark}\n`, owner);
  writeFile(fd, 'pg_ident.conf', `${mark}\n`, owner);
  writeFile(fd, 'pg_hba.conf', copyAccess, owner);
  const { socketDirectory, port = 5432, settings: own = {} } = options;
  writeFile(fd, 'postgresql.conf', copySettings(control, { socketDirectory, port, isStandby, own }), owner);
  flush(fd);
}

/** Bytes of a socket's name; unix(7) has one more, for the end. */
const longest = 107;

/** Whether a server can have its socket in a directory. */
export function fitsSocket(directory: string, port = 5432): boolean {
  const name = `${directory}/.s.PGSQL.${port}`;
  return isAbsolute(directory) && !/[,"\0\n]/.test(directory) && Buffer.byteLength(name) <= longest;
}

function checkSocketDirectory({ socketDirectory, port = 5432 }: SafeOptions): void {
  if (fitsSocket(socketDirectory, port)) return;
  throw new CoppiceError(
    'invalid_argument',
    `The server of a copy can't have its socket in ${socketDirectory}: the path must begin with "/", have no comma, and be so short that ${longest} bytes hold the name of the socket.`,
  );
}

/** Every link to a directory in which the server would write, and what it must say instead. @throws CoppiceError unsupported */
function linksOf(directory: DataDirectory, copy: string, options: SafeOptions): Array<[string, string]> {
  const names = ['.', 'pg_tblspc'].flatMap((below) => {
    const opened = openDirectoryIfAny(directory.fd, below);
    if (!opened) return [];
    using held = opened;
    return readdirSync(pathBelow(held.fd, '.'), { withFileTypes: true })
      .filter((entry) => entry.isSymbolicLink())
      .map((entry) => join(below, entry.name));
  });
  return names
    .filter((name) => name.includes('/') || !(harmless.test(name) || removed.includes(name)))
    .map((name) => [name, targetOf(directory, name, copy, options)]);
}

/** What says who runs, and what a start is to do. */
const removed: readonly string[] = ['postmaster.pid', 'postmaster.opts', 'standby.signal', 'recovery.signal'];

/** Settings and keys are read and not written, and the copy's server logs to us. The last is made anew. */
const harmless = /\.(conf|crt|key|pem|original)$|^(log|pg_log|pg_stat_tmp)$/;

/** What the link must say: what it says, where that may stay. */
function targetOf(
  directory: DataDirectory,
  name: string,
  copy: string,
  { below, formerly = [], volumes = {}, formerlyOf = {} }: SafeOptions,
): string {
  const link = readlinkSync(pathBelow(directory.fd, name));
  const here = join('/', below, name);
  if (!isAbsolute(link)) return link;
  const root = [copy, ...formerly].find((each) => isWithin(link, each));
  if (root !== undefined) return relativeLink(here, link.slice(root.length) || '/');
  if (Object.values(volumes).some((each) => isWithin(link, each))) return link;
  for (const [volume, known] of Object.entries(formerlyOf)) {
    const live = known.find((each) => isWithin(link, each));
    if (live !== undefined && volumes[volume] !== undefined)
      return join(volumes[volume], link.slice(live.length));
  }
  const meant = meantBy(link);
  const volume = meant && Object.hasOwn(volumes, meant.volume) ? volumes[meant.volume] : undefined;
  if (meant && volume !== undefined) return join(volume, meant.path);
  throw new CoppiceError(
    'unsupported',
    meant
      ? `${name} of the cluster in ${directory.path} is in the volume "${meant.volume}": a server can be started on the copy only with a copy of that volume too.`
      : `${name} of the cluster in ${directory.path} is a link to ${link}, outside of the copy: a server started on it would write there.`,
  );
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** A link may go by way of others. */
function requireInside(
  directory: DataDirectory,
  links: ReadonlyArray<[name: string, target: string]>,
  allowed: readonly string[],
): void {
  const roots = allowed.map((each) => realpathSync(each));
  for (const [name] of links) {
    const path = realityOf(pathBelow(directory.fd, name));
    if (path !== undefined && roots.some((root) => isWithin(path, root))) continue;
    throw new CoppiceError(
      'unsupported',
      `${name} of the cluster in ${directory.path} leads ${path === undefined ? 'nowhere' : `to ${path}`}, outside of the copy: a server started on it would write there.`,
    );
  }
}

function realityOf(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}

function isLink({ fd }: DataDirectory, name: string): boolean {
  const status = statusIfAny(fd, name);
  return status !== undefined && (status.mode & constants.S_IFMT) === constants.S_IFLNK;
}

/** What the live server had still to archive is not for the copy to do. A link of `pg_wal` leads to a copy by now. */
function emptyArchiveStatus(directory: DataDirectory): void {
  if (realityOf(pathBelow(directory.fd, 'pg_wal')) === undefined) return;
  using wal = openDirectory(pathBelow(directory.fd, 'pg_wal'));
  realDirectory(wal.fd, 'archive_status', directory.owner)[Symbol.dispose]();
  emptyDirectory(wal.fd, 'archive_status');
}

function keepOriginal({ fd }: DataDirectory, name: string): void {
  const status = statusIfAny(fd, name);
  if (!status) return;
  const isOurs = readBelow(fd, name, mark.length)?.toString('latin1') === mark;
  if (isOurs || statusIfAny(fd, `${name}.original`)) removeFileAt(fd, name);
  else moveAt(fd, name, fd, `${name}.original`);
}
