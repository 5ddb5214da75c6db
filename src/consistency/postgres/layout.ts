import { readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';
import { isDirectory, statusIfAny } from '../../linux/file-status.ts';
import { openDirectoryIfAny } from '../../linux/files.ts';
import { mountOf } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Scope, Subject } from '../quiescer.ts';
import { type DataDirectory, pathBelow } from './data-directory.ts';

/** A part of a cluster that is not simply a file in its data directory. */
export interface Place {
  /** From the data directory: `pg_wal`, `pg_tblspc/16385`. */
  readonly name: string;
  /** What the link says, where it is one. */
  readonly link?: string;
  /** Where it really is; undefined where the link leads nowhere. */
  readonly path: string | undefined;
  /** The volume, of those that are snapshotted together, that it lies in; undefined where it is in none of them. */
  readonly within: { readonly subject: Subject; readonly path: string } | undefined;
}

/** Where the parts of a cluster are: links, and whatever is a subvolume or mount of its own. Of a plain cluster there are none. */
export function findPlaces(directory: DataDirectory, scope: Scope): Place[] {
  const volumes = scope.together.flatMap((subject) => {
    const spot = subject.directory === undefined ? undefined : spotOf(realpathSync(subject.directory));
    return spot ? [{ subject, spot }] : [];
  });
  return [...oddEntries(directory, '.'), ...oddEntries(directory, 'base'), ...tablespaces(directory)].map(
    ({ name, link }) => {
      const path = reality(pathBelow(directory.fd, name));
      // What is no link is a subvolume or mount of its own, of which a snapshot has nothing.
      const spot = path === undefined || link === undefined ? undefined : spotOf(path);
      const volume = spot && volumes.find((each) => isWithin(each.spot, spot));
      return {
        name,
        path,
        ...(link !== undefined && { link }),
        within:
          volume && path !== undefined && isOfOneDevice(path, 2)
            ? { subject: volume.subject, path: relative(volume.spot.path, spot.path) }
            : undefined,
      };
    },
  );
}

interface Odd {
  readonly name: string;
  readonly link?: string;
}

/** Directories there that are links, or subvolumes of their own. Linked files are settings, and what the server logs may be anywhere. */
function oddEntries(directory: DataDirectory, below: string): Odd[] {
  const opened = openDirectoryIfAny(directory.fd, below);
  if (!opened) return [];
  using held = opened;
  return readdirSync(pathBelow(held.fd, '.'), { withFileTypes: true }).flatMap((entry): Odd[] => {
    const name = below === '.' ? entry.name : join(below, entry.name);
    if (notTheDatabase.includes(name)) return [];
    const path = pathBelow(held.fd, entry.name);
    if (entry.isSymbolicLink()) return leadsToFile(path) ? [] : [{ name, link: readlinkSync(path) }];
    if (!entry.isDirectory()) return [];
    const status = statusIfAny(held.fd, entry.name);
    return status && (status.device !== directory.status.device || !isDirectory(status)) ? [{ name }] : [];
  });
}

const notTheDatabase: readonly string[] = ['log', 'pg_log', 'pg_stat_tmp'];

/** Every tablespace that is somewhere else; one made in place is no more than a directory. */
function tablespaces(directory: DataDirectory): Odd[] {
  const opened = openDirectoryIfAny(directory.fd, 'pg_tblspc');
  if (!opened) return [];
  using held = opened;
  return readdirSync(pathBelow(held.fd, '.'), { withFileTypes: true })
    .filter((entry) => entry.isSymbolicLink())
    .map((entry) => ({
      name: join('pg_tblspc', entry.name),
      link: readlinkSync(pathBelow(held.fd, entry.name)),
    }));
}

/** One that leads nowhere here may lead to a directory where the server is. */
function leadsToFile(path: string): boolean {
  if (/\.(conf|crt|key|pem)$/.test(path)) return true;
  try {
    return !statSync(path).isDirectory();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
    throw error;
  }
}

function reality(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}

/** A place in a file system, whichever of its mounts leads there. */
interface Spot {
  /** Of a subvolume, on btrfs. */
  readonly device: bigint;
  readonly path: string;
}

function spotOf(path: string): Spot | undefined {
  const mount = mountOf(path);
  if (!mount) return undefined;
  return {
    device: statSync(path, { bigint: true }).dev,
    path: join(mount.root, relative(mount.mountPoint, path)),
  };
}

function isWithin(volume: Spot, { device, path }: Spot): boolean {
  return volume.device === device && (path === volume.path || path.startsWith(`${volume.path}/`));
}

/** Whether no directory of so many levels below it is a subvolume or mount of its own. */
function isOfOneDevice(path: string, levels: number): boolean {
  const { dev } = statSync(path, { bigint: true });
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name))
    .every(
      (child) =>
        statSync(child, { bigint: true, throwIfNoEntry: false })?.dev === dev &&
        (levels === 1 || isOfOneDevice(child, levels - 1)),
    );
}

/** Two that are the same have the same text. */
export function describePlaces(places: readonly Place[]): string {
  return JSON.stringify(places.map(({ name, link, path }) => [name, link, path]));
}

/**
 * Makes sure that a server, which may see other files under the same paths, as in a container, means what we see.
 * @throws CoppiceError unsupported
 */
export function requireSeen(places: readonly Place[], pid: number, server: string): void {
  for (const { name, link, path } of places) {
    if (link === undefined || !isAbsolute(link) || pid === 0) continue;
    const [theirs, ours] = [`/proc/${pid}/root${link}`, path ?? link].map((each) =>
      statSync(each, { bigint: true, throwIfNoEntry: false }),
    );
    if (ours !== undefined && ours.dev === theirs?.dev && ours.ino === theirs.ino) continue;
    throw new CoppiceError(
      'unsupported',
      `${server} has ${name} as a link to ${link}, which is something else for the server, in its container, than here: put all of it into the data directory, or make the same path lead to it here.`,
    );
  }
}
