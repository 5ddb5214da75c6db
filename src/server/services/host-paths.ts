import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Code, type HandlerContext } from '@connectrpc/connect';
import { type Confined, isWithin } from '../../engine/host-files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { mayDoEverything } from '../auth/caller.ts';
import { callerOf, type ServerContext } from '../context.ts';
import { badRequest, refused } from '../failures.ts';

/** A file of the host, and within what it has to be opened: the names on the way could lead elsewhere by then. */
export interface AllowedPath extends Confined {
  readonly path: string;
}

/**
 * Makes sure that a caller may name a file of the host: the server can read and write all of them, and he may not. An admin may name
 * any, others those in directories that the operator has given for that. Returns the path without links.
 * @throws ConnectError PERMISSION_DENIED, INVALID_ARGUMENT
 */
export function requireAllowedPath(
  { imageDirectories }: ServerContext,
  handler: HandlerContext,
  field: string,
  path: string,
): AllowedPath {
  if (mayDoEverything(callerOf(handler))) return { path };
  return { path: requireWithin(field, path, imageDirectories, 'image'), beneath: imageDirectories };
}

/** The same for the socket of a hypervisor, or of the agent in a guest. */
export function requireSocketPath(
  { socketDirectories }: ServerContext,
  handler: HandlerContext,
  field: string,
  path: string,
): string {
  if (mayDoEverything(callerOf(handler))) return path;
  return requireWithin(field, path, socketDirectories, 'socket');
}

function requireWithin(
  field: string,
  path: string,
  directories: readonly string[],
  what: 'image' | 'socket',
): string {
  const isInside = (each: string): boolean => directories.some((directory) => isWithin(directory, each));
  const directory = unlessMissing(() => realpathSync.native(dirname(path)));
  // What is there elsewhere is nobody's business.
  if (directory === undefined && isInside(path))
    throw badRequest([{ field, description: `names ${JSON.stringify(path)}, whose directory is not there` }]);
  const real = directory === undefined ? '' : join(directory, basename(path));
  // What stands at the end may itself be a link, which whoever may write there has made.
  const target = unlessMissing(() => realpathSync.native(real)) ?? real;
  if (real !== '' && isInside(real) && isInside(target)) return target;
  throw refused(
    Code.PermissionDenied,
    'PATH_NOT_ALLOWED',
    directories.length === 0
      ? `${field}: only an admin may name files of the host; the operator can give directories for ${what}s with "coppice serve --${what}-directory".`
      : `${field}: ${path} is not in ${directories.join(' or ')}, where ${what}s may lie.`,
  );
}

function unlessMissing(look: () => string): string | undefined {
  try {
    return look();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENAMETOOLONG')) return undefined;
    throw error;
  }
}
