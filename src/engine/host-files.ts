import { constants, openSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { Descriptor, openBeneath } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';

export interface Confined {
  /**
   * Directories outside of which no file of the host is opened or made, whatever somebody who can write there puts in the way
   * meanwhile. The paths that are given with it, and these, have no links in them. Everything is allowed when absent.
   */
  readonly beneath?: readonly string[];
}

/**
 * Opens what a user has named outside the pool.
 * @throws CoppiceError permission_denied for what does not lie where it may; else what opening says
 */
export function openOnHost(path: string, flags: number, { beneath }: Confined): Descriptor {
  if (beneath === undefined) return new Descriptor(openSync(path, flags));
  const home = beneath.find((directory) => isWithin(directory, path));
  if (home === undefined) throw notBeneath(path, beneath);
  using directory = new Descriptor(openSync(home, constants.O_RDONLY | constants.O_DIRECTORY));
  try {
    return openBeneath(directory.fd, relative(home, path) || '.', flags);
  } catch (error) {
    throw hasErrno(error, 'EXDEV', 'ELOOP') ? notBeneath(path, beneath, error) : error;
  }
}

/** Whether a path is that directory, or lies in it, as far as names tell. */
export function isWithin(directory: string, path: string): boolean {
  const way = relative(directory, resolve(path));
  return way !== '..' && !way.startsWith('../');
}

function notBeneath(path: string, beneath: readonly string[], cause?: unknown): CoppiceError {
  return new CoppiceError(
    'permission_denied',
    `${path} does not lie in ${beneath.join(' or ')}, or goes through a link.`,
    { cause },
  );
}
