import { constants, openSync, realpathSync } from 'node:fs';
import type { Backend } from '../../drivers/backend.ts';
import { backendAt } from '../../drivers/backends.ts';
import type { Store } from '../../drivers/store.ts';
import { storeOf } from '../../drivers/stores.ts';
import { readAttribute } from '../../linux/attributes.ts';
import { Descriptor } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type PoolMetadata, poolFormat } from '../../model/metadata.ts';
import { decodeMetadata, decodePoolFormat } from '../../model/metadata-text.ts';

export const poolAttribute = 'user.coppice';

export interface OpenRoot extends Disposable {
  readonly path: string;
  readonly fd: number;
  readonly backend: Backend;
  readonly metadata: PoolMetadata;
}

/** What every pool has, also one that is no directory. */
export type PoolRoot = Omit<OpenRoot, 'backend'>;

/**
 * Opens whatever a path says that the pool is.
 * @throws CoppiceError not_a_pool, unsupported, missing_tool
 */
export function openPoolRoot(path: string): PoolRoot {
  return storeOf(path)?.openRoot(path) ?? openRoot(path);
}

/** @throws CoppiceError unsupported when a pool is no directory, with what its storage has for that */
export function requireDirectoryPool(path: string, purpose: keyof Store['advice']): void {
  const store = storeOf(path);
  if (store)
    throw new CoppiceError('unsupported', `${path} lies on ${store.name}: ${store.advice[purpose]}.`);
}

/**
 * Opens the root directory of a pool and makes sure that it really is the pool: an unmounted pool is an empty directory, and
 * writing there would fill the root file system and be hidden by the next mount. The descriptor pins what was verified.
 * @throws CoppiceError not_a_pool, unsupported
 */
export function openRoot(pathText: string): OpenRoot {
  const path = existing(pathText);
  const descriptor = openExisting(path);
  try {
    return {
      path,
      fd: descriptor.fd,
      ...verify(descriptor.fd, path),
      [Symbol.dispose]: () => descriptor[Symbol.dispose](),
    };
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/** What an open directory says of itself as a pool; undefined when it is none. */
export function readPoolMetadata(fd: number): PoolMetadata | undefined {
  const bytes = readAttribute(fd, poolAttribute);
  const metadata = bytes && decodeMetadata(bytes);
  return metadata?.type === 'pool' ? metadata : undefined;
}

/**
 * The same, where a pool of a newer format is not taken for none.
 * @throws CoppiceError unsupported
 */
export function readKnownMetadata(fd: number, path: string): PoolMetadata | undefined {
  const bytes = readAttribute(fd, poolAttribute);
  const format = bytes && decodePoolFormat(bytes);
  if (format !== undefined && format > poolFormat) {
    throw new CoppiceError(
      'unsupported',
      `The pool ${path} has format ${format}, and this version of Coppice knows formats up to ${poolFormat}; install a newer one.`,
    );
  }
  return readPoolMetadata(fd);
}

function verify(fd: number, path: string): Pick<OpenRoot, 'backend' | 'metadata'> {
  const metadata = readKnownMetadata(fd, path);
  if (!metadata) {
    throw new CoppiceError(
      'not_a_pool',
      `${path} is not a pool: if it was one, it is not mounted now (try "mount ${path}"); "coppice pool create ${path}" makes one.`,
    );
  }
  const backend = backendAt(fd);
  if (backend?.uuid(fd) !== metadata.filesystem) {
    throw new CoppiceError(
      'not_a_pool',
      `${path} is a copy of a pool's directory on another file system, not the pool; mount the real one there, or remove the copy.`,
    );
  }
  return { backend, metadata };
}

function openExisting(path: string): Descriptor {
  try {
    return new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  } catch (error) {
    if (!hasErrno(error, 'ENOTDIR')) throw error;
    throw new CoppiceError('not_a_pool', `${path} is not a directory, so it can't be a pool.`, {
      cause: error,
    });
  }
}

function existing(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new CoppiceError(
      'not_a_pool',
      `There is no directory ${path}; "coppice pool create ${path}" makes a pool there.`,
      { cause: error },
    );
  }
}
