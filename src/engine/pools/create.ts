import { constants, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Backend } from '../../drivers/backend.ts';
import { backendNamed, backendNames, backends } from '../../drivers/backends.ts';
import { storeNamed, storeOf } from '../../drivers/stores.ts';
import { Descriptor } from '../../linux/files.ts';
import { readMounts } from '../../linux/mounts.ts';
import { runProgram } from '../../linux/programs.ts';
import { isSame } from '../../linux/same-file.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Backing } from '../../model/metadata.ts';
import { formatSize } from '../../model/sizes.ts';
import { explaining } from '../failures.ts';
import { presentBacking } from './beneath.ts';
import { type CreatePoolOptions, mountOptions } from './claim.ts';
import { createInStore } from './create-in-store.ts';
import { defaultPoolPath } from './default-path.ts';
import { claimDevice } from './device.ts';
import { adopt, initialise, type Made, requireDriver } from './initialise.ts';
import { claimLoopFile } from './loop-file.ts';
import { speedUp } from './loop-speed.ts';
import { type OpenRoot, openRoot } from './open.ts';
import { overcommitWarnings, preallocatePool } from './preallocate.ts';
import { mountsOf } from './recognise.ts';

export interface PoolCreated {
  readonly path: string;
  readonly id: string;
  readonly backing: Backing;
  /** What was done, one short phrase each; empty when everything was there already. */
  readonly steps: readonly string[];
  /** What a person should know about it, one sentence each. */
  readonly warnings: readonly string[];
}

/** Makes a pool. Can be run again at any time, also after it was interrupted: each step is done only where it is missing. */
export function createPool(options: CreatePoolOptions): PoolCreated {
  const path = options.path ?? storeNamed(options.driver)?.defaultPath ?? defaultPoolPath;
  return explaining(`create the pool ${path}`, () => create(options));
}

function create(options: CreatePoolOptions): PoolCreated {
  const store = storeNamed(options.driver) ?? storeOf(options.path ?? '');
  if (store) return createInStore(store, options);
  const path = resolve(options.path ?? defaultPoolPath);
  const backend = checkOptions(options);
  const present = openIfPool(path);
  if (present) {
    const backing = presentBacking(path, present.metadata.backing);
    requireDriver(path, present.backend, options);
    checkSame(path, backing, options);
    if (backing.type === 'loop') requireSizeReached(path, backing.file, options.bytes);
    const isRoots = process.geteuid?.() === 0 && statSync(path).uid === 0;
    const steps = backing.type === 'loop' && isRoots ? speedUp(path) : [];
    return finish({ path, id: present.metadata.id, backing, steps }, options);
  }
  const steps: string[] = [];
  const did = (step: string): void => void steps.push(step);
  if (options.existing) return finish(adopt(path, options, steps, did), options);
  requireRoot(path);
  requireMountPoint(
    backend,
    path,
    resolve(options.device === undefined ? (options.file ?? `${path}.img`) : onlyDevice(options.device)),
  );
  using claim =
    options.device !== undefined
      ? claimDevice(resolve(onlyDevice(options.device)), backend, options.force ?? false, did)
      : claimLoopFile(path, backend, options, did);
  requireDriver(claim.source, claim.backend, options);
  // Another process may have done all of it while this one waited for the lock.
  const meanwhile = openIfPool(path);
  if (meanwhile) {
    const { id, backing } = meanwhile.metadata;
    return finish({ path, id, backing, steps }, options);
  }
  requireNotMountedElsewhere(claim.source, path);
  const isOurs = mkdirSync(path, { recursive: true, mode: 0o755 }) !== undefined;
  if (!mountsOf(claim.source).some((mount) => mount.mountPoint === path)) {
    const options = mountOptions(claim.backing, claim.backend, claim.keepBlocks).join(',');
    const args = ['-t', claim.backend.name, '-o', options, '--', claim.source, path];
    runProgram('mount', args, [claim.lock]);
    did(`mounted ${claim.source} on ${path}`);
    speedUp(path);
  }
  using root = new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  return finish(
    initialise(
      { root: root.fd, path, backend: claim.backend, backing: claim.backing, madeDirectory: isOurs },
      steps,
      did,
    ),
    options,
  );
}

/** What applies to a pool that was made now and to one that was there. */
function finish({ isNew = false, ...made }: Made, options: CreatePoolOptions): PoolCreated {
  const { path } = made;
  const backing = presentBacking(path, made.backing);
  if (options.preallocate && preallocatePool(path)) {
    return {
      ...made,
      backing: backing.type === 'loop' ? { ...backing, preallocated: true } : backing,
      steps: [...made.steps, `reserved all blocks of the file under ${path}`],
      warnings: [
        `If ${path} is mounted at every boot, run "coppice pool persist ${path}" again, so that no boot gives the blocks back.`,
      ],
    };
  }
  const warnings = isNew && backing.type === 'loop' ? overcommitWarnings(backing.file) : [];
  return { ...made, backing, warnings };
}

/** Returns the backend for a new file system. */
function checkOptions(options: CreatePoolOptions): Backend {
  const kinds = [
    options.device !== undefined && 'a device',
    options.existing && 'an existing directory',
    (options.file !== undefined || options.bytes !== undefined || options.preallocate) && 'a file',
  ];
  const given = kinds.filter(Boolean);
  if (given.length > 1)
    throw new CoppiceError(
      'invalid_argument',
      `A pool lies on one thing, but ${given.join(' and ')} were given; choose one.`,
    );
  if (options.driver === undefined) return backends[0];
  const backend = backendNamed(options.driver);
  if (backend) return backend;
  throw new CoppiceError(
    'invalid_argument',
    `There is no driver ${JSON.stringify(options.driver)}: a pool lies on ${backendNames()}.`,
  );
}

/** A file system lies on one device. @throws CoppiceError invalid_argument */
function onlyDevice(device: string | readonly string[]): string {
  if (typeof device === 'string') return device;
  if (device.length === 1 && device[0] !== undefined) return device[0];
  throw new CoppiceError(
    'invalid_argument',
    `A pool on a file system lies on one device, and ${device.length} were given; choose one, or use --driver zfs.`,
  );
}

/** Formatting and mounting is root's; whoever is not finds a way that is open to him. */
function requireRoot(path: string): void {
  if (process.geteuid?.() === 0) return;
  throw new CoppiceError(
    'permission_denied',
    `Making and mounting the file system of a pool needs root; without root, make the pool in a directory of yours on ${backendNames()}: "coppice pool create ${path} --existing".`,
  );
}

/** Two directories for one pool would each be destroyed without a word about the other. */
function requireNotMountedElsewhere(source: string, path: string): void {
  const elsewhere = mountsOf(source).find((mount) => mount.mountPoint !== path);
  if (!elsewhere) return;
  throw new CoppiceError(
    'already_exists',
    `${source} is mounted on ${elsewhere.mountPoint} already; use that, or unmount it first.`,
  );
}

/** Mounting over files would hide them. */
function requireMountPoint(backend: Backend, path: string, source: string): void {
  let entries: string[];
  try {
    entries = readdirSync(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return;
    throw new CoppiceError(
      'invalid_argument',
      `${path} can't be used as the directory of a pool: it is not a directory.`,
      { cause: error },
    );
  }
  const mounted = readMounts().findLast((mount) => mount.mountPoint === path);
  if (mounted) {
    // An interrupted run got as far as the mount.
    const isOurs = mountsOf(source).some((mount) => mount.mountPoint === path);
    if (isOurs && entries.every((name) => name in backend.areas)) return;
    throw new CoppiceError(
      'already_exists',
      `${mounted.source} (${mounted.type}) is mounted on ${path}; choose another directory, or adopt it with --existing.`,
    );
  }
  if (entries.length > 0) {
    throw new CoppiceError(
      'already_exists',
      `${path} is not empty, and a mount there would hide what is in it; choose another directory.`,
    );
  }
}

function checkSame(path: string, backing: Backing, options: CreatePoolOptions): void {
  const { device, file, existing } = options;
  const isOther =
    (existing && backing.type !== 'existing') ||
    (device !== undefined &&
      !(backing.type === 'device' && isSame(backing.device, resolve(onlyDevice(device))))) ||
    (file !== undefined && !(backing.type === 'loop' && isSame(backing.file, resolve(file))));
  if (!isOther) return;
  const on =
    backing.type === 'loop'
      ? backing.file
      : backing.type === 'device'
        ? backing.device
        : backing.type === 'zpool'
          ? backing.devices.join(' and ')
          : 'an existing file system';
  throw new CoppiceError('already_exists', `${path} is a pool already, on ${on}; choose another directory.`);
}

/** A set-up script may go on asking for the size that a pool had before it was grown; a larger one is a wish, not a fact. */
function requireSizeReached(path: string, file: string, wanted: number | undefined): void {
  const size = wanted === undefined ? undefined : statSync(file, { throwIfNoEntry: false })?.size;
  if (wanted === undefined || size === undefined || wanted <= size) return;
  throw new CoppiceError(
    'already_exists',
    `${path} is a pool already, of ${formatSize(size)}; make it larger with "coppice pool grow SIZE --pool ${path}".`,
  );
}

function openIfPool(path: string): Pick<OpenRoot, 'backend' | 'metadata'> | undefined {
  try {
    using root = openRoot(path);
    return { backend: root.backend, metadata: root.metadata };
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'not_a_pool') return undefined;
    throw error;
  }
}
