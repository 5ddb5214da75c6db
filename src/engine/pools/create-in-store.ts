import { constants, openSync, unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Store } from '../../drivers/store.ts';
import { Descriptor } from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { timestamp } from '../timestamp.ts';
import type { CreatePoolOptions } from './claim.ts';
import type { PoolCreated } from './create.ts';
import { requireFreeDevice } from './device.ts';
import { resizeBackingFile } from './loop-file.ts';

/** Makes a pool on storage of its own kind, which is no file system in a directory. */
export function createInStore(store: Store, options: CreatePoolOptions): PoolCreated {
  requireStore(store, options);
  const path = storePath(store, options.path);
  const present = presentPool(store, path, options);
  if (present) return present;
  const steps: string[] = [];
  using undo = new DisposableStack();
  const devices = devicesOf(path, options, steps, undo);
  const { metadata, ...made } = store.create(path, {
    devices,
    force: options.force ?? false,
    id: randomId(),
    created: timestamp(),
  });
  undo.move();
  const { id, backing } = metadata;
  return { path, id, backing, steps: [...steps, ...made.steps], warnings: made.warnings };
}

/** Run again, nothing is left to do. @throws CoppiceError already_exists where it lies on something else than what is named */
function presentPool(store: Store, path: string, options: CreatePoolOptions): PoolCreated | undefined {
  if (options.existing) return undefined;
  try {
    using root = store.openRoot(path);
    const { id, backing } = root.metadata;
    for (const each of named(options)) if (!store.liesOn(path, each)) throw isElsewhere(store, path, each);
    return { path, id, backing, steps: [], warnings: [] };
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'not_a_pool') return undefined;
    throw error;
  }
}

/** The devices and the file that somebody wants the pool to lie on. */
function named({ device, file }: CreatePoolOptions): string[] {
  return [device ?? [], file ?? []].flat().map((each) => resolve(each));
}

function isElsewhere({ name, advice }: Store, path: string, device: string): CoppiceError {
  return new CoppiceError(
    'already_exists',
    `${path} is a pool already, and ${device} is no part of it; ${advice.grow}; another pool needs a name of its own: "coppice pool create ${name}:NAME ...".`,
  );
}

/** With the driver named, the name of the storage alone will do. */
function storePath(store: Store, path: string | undefined): string {
  if (path === undefined) return store.defaultPath;
  return path.startsWith(`${store.name}:`) ? path : `${store.name}:${path}`;
}

function requireStore(store: Store, { driver, preallocate }: CreatePoolOptions): void {
  if (driver !== undefined && driver !== store.name)
    throw new CoppiceError(
      'invalid_argument',
      `A pool of ${store.name} has no other driver than that; leave out --driver.`,
    );
  if (preallocate)
    throw new CoppiceError(
      'unsupported',
      `A pool of ${store.name} is not preallocated: ${store.advice.preallocate}.`,
    );
}

/** What a new pool lies on; none where it exists. */
function devicesOf(
  path: string,
  options: CreatePoolOptions,
  steps: string[],
  undo: DisposableStack,
): string[] {
  const { device, file, bytes, existing, force = false } = options;
  const given = [device !== undefined, file !== undefined || bytes !== undefined, existing].filter(Boolean);
  if (given.length !== 1) {
    throw new CoppiceError(
      'invalid_argument',
      `Say what the pool ${path} lies on: --device for each of its devices, --existing for a dataset that is there, or --file to try it out in a file.`,
    );
  }
  if (existing) return [];
  if (device === undefined)
    return [makeFile(resolve(file ?? `${path.replaceAll(/[:/]/g, '-')}.img`), bytes, steps, undo)];
  const devices = named(options);
  for (const each of devices) requireFreeDevice(each, force);
  return devices;
}

const defaultBytes = 50 * 2 ** 30;

/** A sparse file, for trying it out: what lies on a file system has two caches and two journals. */
function makeFile(file: string, wanted: number | undefined, steps: string[], undo: DisposableStack): string {
  const bytes = roundSize(checkSize(wanted ?? defaultBytes));
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    using descriptor = new Descriptor(openSync(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
    undo.defer(() => unlinkSync(file));
    resizeBackingFile(descriptor.fd, bytes, file);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
    throw new CoppiceError('already_exists', `${file} exists; choose another --file, or move it away.`, {
      cause: error,
    });
  }
  steps.push(`made ${file}, ${formatSize(bytes)}, sparse`);
  return file;
}
