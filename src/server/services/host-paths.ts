import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Code, type HandlerContext } from '@connectrpc/connect';
import { hasErrno } from '../../linux/libc.ts';
import { callerOf, type ServerContext } from '../context.ts';
import { badRequest, refused } from '../failures.ts';

/**
 * Makes sure that a caller may name a file of the host: the server can read and write all of them, and he may not. An admin may name
 * any, others those in directories that the operator has given for that. Returns the path without links in its directories.
 * @throws ConnectError PERMISSION_DENIED, INVALID_ARGUMENT
 */
export function requireAllowedPath(
  { imageDirectories }: ServerContext,
  handler: HandlerContext,
  field: string,
  path: string,
): string {
  return requireWithin(handler, field, path, imageDirectories, 'image');
}

/** The same for the socket of a hypervisor, or of the agent in a guest. */
export function requireSocketPath(
  { socketDirectories }: ServerContext,
  handler: HandlerContext,
  field: string,
  path: string,
): string {
  return requireWithin(handler, field, path, socketDirectories, 'socket');
}

function requireWithin(
  handler: HandlerContext,
  field: string,
  path: string,
  directories: readonly string[],
  what: 'image' | 'socket',
): string {
  const { scope, pools } = callerOf(handler);
  // Who is limited to some pools could reach the others by their files.
  if (scope === 'admin' && pools === undefined) return path;
  const real = join(realDirectory(field, path), basename(path));
  // What stands at the end may itself be a link, which whoever may write there has made.
  const target = unlessMissing(() => realpathSync(real)) ?? real;
  const isInside = (each: string): boolean =>
    directories.some((directory) => each.startsWith(`${directory}/`));
  if (isInside(real) && isInside(target)) return target;
  throw refused(
    Code.PermissionDenied,
    'PATH_NOT_ALLOWED',
    directories.length === 0
      ? `${field}: only an admin may name files of the host; the operator can give directories for ${what}s with "coppice serve --${what}-directory".`
      : `${field}: ${path} is not in ${directories.join(' or ')}, where ${what}s may lie.`,
  );
}

function realDirectory(field: string, path: string): string {
  const real = unlessMissing(() => realpathSync(dirname(path)));
  if (real !== undefined) return real;
  throw badRequest([{ field, description: `names ${JSON.stringify(path)}, whose directory is not there` }]);
}

function unlessMissing(look: () => string): string | undefined {
  try {
    return look();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENAMETOOLONG')) return undefined;
    throw error;
  }
}
