import { constants, openSync, readdirSync } from 'node:fs';
import type { Backend } from '../../drivers/backend.ts';
import { backendAt, backendNames } from '../../drivers/backends.ts';
import { writeAttribute } from '../../linux/attributes.ts';
import { Descriptor, descriptorPath, makeDirectoryAt } from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type Backing, type PoolMetadata, poolFormat } from '../../model/metadata.ts';
import { encodeMetadata } from '../../model/metadata-text.ts';
import { timestamp } from '../timestamp.ts';
import type { CreatePoolOptions } from './claim.ts';
import { openRoot, poolAttribute, readKnownMetadata } from './open.ts';

export interface Made {
  readonly path: string;
  readonly id: string;
  readonly backing: Backing;
  /** What was done, one short phrase each. */
  readonly steps: readonly string[];
  /** It was no pool before. */
  readonly isNew?: boolean;
}

export interface NewPool {
  /** The open root directory. */
  readonly root: number;
  readonly path: string;
  readonly backend: Backend;
  readonly backing: Backing;
  readonly madeDirectory?: boolean;
}

/** Makes a pool in a directory that lies on a file system which can have one. */
export function adopt(
  path: string,
  options: CreatePoolOptions,
  steps: string[],
  did: (step: string) => void,
): Made {
  using root = openExisting(path);
  const backend = backendAt(root.fd);
  if (!backend) {
    throw new CoppiceError(
      'unsupported',
      `${path} is not on ${backendNames()}, so it can't be adopted; leave out --existing to make a pool in a file.`,
    );
  }
  requireDriver(path, backend, options);
  const obstacle = backend.obstacle(root.fd);
  if (obstacle !== undefined)
    throw new CoppiceError('unsupported', `The file system of ${path} can't hold a pool: ${obstacle}.`);
  lock(root.fd, 'exclusive', true);
  return initialise({ root: root.fd, path, backend, backing: { type: 'existing' } }, steps, did);
}

/** @throws CoppiceError already_exists when another driver was asked for than there is */
export function requireDriver(what: string, backend: Backend, { driver }: CreatePoolOptions): void {
  if (driver === undefined || driver === backend.name) return;
  throw new CoppiceError(
    'already_exists',
    `${what} is on ${backend.name}, not on ${driver}; leave out --driver, or choose another place.`,
  );
}

/** Makes an empty file system, or a directory, a pool. The marker comes last: what has it is whole. */
export function initialise(
  { root, path, backend, backing, madeDirectory = false }: NewPool,
  steps: string[],
  did: (step: string) => void,
): Made {
  if (readKnownMetadata(root, path)) {
    using pool = openRoot(path); // refuses a copy of another pool's directory
    return { path, id: pool.metadata.id, backing: pool.metadata.backing, steps };
  }
  for (const [name, mode] of Object.entries(backend.areas)) makeArea(root, path, name, mode);
  const metadata: PoolMetadata = {
    type: 'pool',
    format: poolFormat,
    id: randomId(),
    created: timestamp(),
    filesystem: backend.uuid(root),
    backing,
    ...(madeDirectory && { madeDirectory: path }),
  };
  writeAttribute(root, poolAttribute, encodeMetadata(metadata));
  backend.commit(root);
  did(`made the pool in ${path}`);
  return { path, id: metadata.id, backing, steps, isNew: true };
}

function makeArea(root: number, path: string, name: string, mode: number): void {
  try {
    makeDirectoryAt(root, name, mode);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
    if (readdirSync(`${descriptorPath(root)}/${name}`).length === 0) return; // from an interrupted run
    throw new CoppiceError(
      'already_exists',
      `${path}/${name} exists and is not empty; adopt another directory, or move it away.`,
      { cause: error },
    );
  }
}

function openExisting(path: string): Descriptor {
  try {
    return new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  } catch (error) {
    throw new CoppiceError('not_found', `There is no directory ${path} to adopt.`, { cause: error });
  }
}
