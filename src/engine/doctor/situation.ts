import { constants, openSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { closingOnFailure, Descriptor } from '../../linux/files.ts';
import { type Mount, mountOf } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { PoolMetadata } from '../../model/metadata.ts';
import { explainFailure } from '../failures.ts';
import { openRoot, readKnownMetadata } from '../pools/open.ts';
import { hasRootRights } from './rights.ts';

/** What every check works with: what the path is, and who asks. */
export interface Situation extends Disposable {
  /** Absolute; without links where it is there. */
  readonly path: string;
  readonly kind: PlaceKind;
  /** The directory that is looked at: the path, or where it can't be opened the nearest one above it that can. */
  readonly directory: string;
  /** The same, open. */
  readonly fd: number;
  readonly pool: PoolMetadata | undefined;
  /** Why the path can't be what it should be; that it is not there, or not a pool yet, is no reason. */
  readonly refusal: CoppiceError | undefined;
  readonly mount: Mount | undefined;
  readonly rootRights: boolean;
  readonly fstab: string;
  readonly unitDirectory: string;
}

/** `absent`: there is nothing, or nothing that can be opened as a directory. */
export type PlaceKind = 'pool' | 'directory' | 'absent';

export interface DoctorOptions {
  /** Where to look for what mounts pools at boot; for tests and for images of other systems. */
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export function lookAround(pathText: string, options: DoctorOptions): Situation {
  const path = resolve(pathText);
  const nearest = openNearest(path);
  return closingOnFailure(nearest.descriptor, () => describe(path, nearest, options));
}

function describe(
  path: string,
  { directory, descriptor, failure }: Nearest,
  options: DoctorOptions,
): Situation {
  const { pool, refusal } = failure
    ? { pool: undefined, refusal: refusalOf(path, failure) }
    : recognise(path, descriptor.fd);
  return {
    path: failure ? path : directory,
    kind: pool ? 'pool' : failure ? 'absent' : 'directory',
    directory,
    fd: descriptor.fd,
    pool,
    refusal,
    mount: mountOf(directory),
    rootRights: hasRootRights(),
    fstab: options.fstab ?? '/etc/fstab',
    unitDirectory: options.unitDirectory ?? '/etc/systemd/system',
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

interface Nearest {
  readonly directory: string;
  readonly descriptor: Descriptor;
  /** Why it is not the path itself. */
  readonly failure?: Error;
}

function openNearest(path: string): Nearest {
  try {
    const directory = realpathSync(path);
    const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    return { directory, descriptor: new Descriptor(fd) };
  } catch (failure) {
    if (path === '/' || !hasErrno(failure, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) throw failure;
    return { ...openNearest(dirname(path)), failure: failure as Error };
  }
}

function refusalOf(path: string, cause: Error): CoppiceError | undefined {
  if (hasErrno(cause, 'ENOENT')) return undefined;
  if (hasErrno(cause, 'EACCES')) {
    return new CoppiceError('permission_denied', `${path} can't be opened by this user.`, { cause });
  }
  return new CoppiceError('not_a_pool', `${path} is not a directory, so it can't be a pool.`, { cause });
}

/** Only what carries the mark of a pool, or may carry one, can be wrong as a pool. */
function recognise(path: string, fd: number): Pick<Situation, 'pool' | 'refusal'> {
  try {
    if (!readKnownMetadata(fd, path)) return { pool: undefined, refusal: undefined };
    using root = openRoot(path);
    return { pool: root.metadata, refusal: undefined };
  } catch (failure) {
    const refusal = explainFailure(`look at ${path}`, failure);
    if (refusal instanceof CoppiceError) return { pool: undefined, refusal };
    throw refusal;
  }
}
