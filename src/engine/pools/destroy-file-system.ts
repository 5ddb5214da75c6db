import { mkdirSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import type { Backend } from '../../drivers/backend.ts';
import { Descriptor } from '../../linux/files.ts';
import { runProgram } from '../../linux/programs.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { Backing, PoolMetadata } from '../../model/metadata.ts';
import { type Beneath, lookBeneath } from './beneath.ts';
import { mountOptions } from './claim.ts';
import { unmountObstacles } from './obstacles.ts';
import type { OpenRoot } from './open.ts';
import { type PersistOptions, unpersistPool } from './persist.ts';

/**
 * Unmounts the file system of a pool and destroys it. What fails after the unmount has it mounted again, so that a destruction
 * that did not come to its end can be run again, and until then the pool is whole.
 */
export function destroyFileSystem(
  path: string,
  { backend, metadata }: Pick<OpenRoot, 'backend' | 'metadata'>,
  options: PersistOptions,
): void {
  const beneath = findBeneath(path);
  // Keeps a loop device attached to its file, and its number from being given to another, after the unmount.
  using device = new Descriptor(openSync(beneath.device, 'r'));
  unmount(path);
  try {
    // The file or signature last: what an interruption leaves is a pool that can be mounted, and no boot waits for one that is gone.
    unpersistPool(path, metadata, beneath, options);
    if (metadata.madeDirectory === path) removeMountPoint(path);
    destroyBacking(beneath, metadata);
  } catch (error) {
    throw mountAgain({ path, backend, ...metadata }, beneath, device, error);
  }
}

/** Only what really is mounted: a recorded name may mean a stranger's file or disk by now. */
function findBeneath(path: string): Beneath {
  const beneath = lookBeneath(path);
  if (beneath?.mountPoint !== path) {
    throw new CoppiceError(
      'not_a_pool',
      `${path} is a copy of a pool's directory inside a pool, not where that is mounted; remove it with "rm".`,
    );
  }
  if (beneath.file?.state !== 'unseen') return beneath;
  throw new CoppiceError(
    'damaged',
    `The file under ${path} should be ${beneath.file.path}, but is not found there, so it can't be deleted; unmount the pool, and mount it from where its file can be seen.`,
  );
}

function destroyBacking({ device, file }: Beneath, { backing }: PoolMetadata): void {
  if (backing.type === 'device' || !file) runProgram('wipefs', ['--all', '--quiet', '--', device]);
  else if (file.state === 'there') unlinkSync(file.path);
}

function unmount(path: string): void {
  try {
    runProgram('umount', ['--', path]);
  } catch (error) {
    const blockers = unmountObstacles(path);
    if (blockers.length > 0)
      throw blockedBy(`Could not destroy the pool ${path}`, blockers, { cause: error });
    throw new CoppiceError(
      'blocked',
      `Could not destroy the pool ${path}: it is in use and can't be unmounted; "fuser -vm ${path}" shows by whom.`,
      {
        cause: error,
        blockers: [{ kind: 'mounted', what: `${path} is in use`, remedy: `end what uses it` }],
      },
    );
  }
}

/** Returns the error to throw. */
function mountAgain(
  { path, backend, backing }: { readonly path: string; readonly backend: Backend; readonly backing: Backing },
  { device, file }: Beneath,
  pinned: Descriptor,
  cause: unknown,
): CoppiceError {
  const why = cause instanceof Error ? cause.message.replace(/\.$/, '') : String(cause);
  const options = mountOptions(backing, backend).filter((option) => option !== 'loop');
  try {
    mkdirSync(path, { recursive: true, mode: 0o755 });
    runProgram('mount', ['-t', backend.name, '-o', options.join(','), '--', device, path], [pinned.fd]);
  } catch (error) {
    const source = file?.path ?? device;
    return new CoppiceError(
      'io_error',
      `Could not destroy the pool ${path}: ${why}; it could not be mounted again either, so mount ${source} on ${path} by hand, and destroy it then.`,
      { cause: new AggregateError([cause, error]) },
    );
  }
  return new CoppiceError(
    'io_error',
    `Could not destroy the pool ${path}: ${why}; it is mounted again, so put that right and run it again.`,
    { cause },
  );
}

/** An empty directory that can't be removed harms nobody. */
function removeMountPoint(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'EBUSY', 'EACCES', 'EPERM', 'EROFS', 'ENOENT')) throw error;
  }
}
