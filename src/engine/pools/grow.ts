import { constants, fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { allocateFile, Descriptor, flush } from '../../linux/files.ts';
import { loopBackingFile, mountOf } from '../../linux/mounts.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { call } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { type Attribution, AuditLog, audited, auditSetup } from '../audit.ts';
import { explaining } from '../failures.ts';
import { resizeBackingFile } from './loop-file.ts';
import { openPoolRoot, openRoot, requireDirectoryPool } from './open.ts';

export interface PoolGrown {
  readonly path: string;
  /** Bytes of the file or device under the pool. */
  readonly bytes: number;
  readonly previousBytes: number;
  /** The size is more than the host can hold now: the file is sparse. */
  readonly overcommitted: boolean;
}

export interface GrowPoolOptions {
  /** As for `openPool`. */
  readonly auditLog?: string;
  readonly program?: string;
  /** On whose behalf. */
  readonly by?: Attribution;
}

/** Makes a pool larger while it is in use: the file, the loop device, the file system. Run again, it finishes what was interrupted. */
export function growPool(path: string, bytesText: number, options: GrowPoolOptions = {}): PoolGrown {
  return explaining(`grow the pool ${path}`, () => {
    using root = openPoolRoot(path);
    const setup = auditSetup(options.auditLog, options.program);
    using log = new AuditLog(setup, { pool: root.path, poolId: root.metadata.id });
    return audited(log, 'growPool', [bytesText], options.by, () => grow(path, bytesText));
  });
}

function grow(path: string, bytesText: number): PoolGrown {
  const bytes = roundSize(checkSize(bytesText));
  requireDirectoryPool(path, 'grow');
  using root = openRoot(path);
  using _lock = root.backend.lock(root.fd);
  const { backing } = root.metadata;
  if (backing.type !== 'loop') {
    throw new CoppiceError(
      'unsupported',
      backing.type === 'device'
        ? `The pool ${path} lies on the device ${backing.device}; make that larger, then run ${root.backend.growCommand(path)}.`
        : `The pool ${path} was adopted, so its file system is grown by its own tools.`,
    );
  }
  const device = mountOf(root.path)?.source ?? '';
  const file = loopBackingFile(device);
  if (file === undefined)
    throw new CoppiceError('damaged', `The loop device under ${path} was not found; mount the pool again.`);
  if (file.endsWith(' (deleted)')) {
    throw new CoppiceError(
      'damaged',
      `The file under ${path} has been deleted and lives only as long as it is mounted; copy the volumes out with "coppice export".`,
    );
  }
  using target = new Descriptor(openSync(file, constants.O_RDWR | constants.O_NOFOLLOW));
  const previousBytes = fstatSync(target.fd).size;
  if (bytes < previousBytes) {
    throw new CoppiceError(
      'invalid_argument',
      `A pool is never made smaller: ${file} has ${formatSize(previousBytes)}, and ${formatSize(bytes)} was asked for.`,
    );
  }
  const hostFree = freeBytesOf(dirname(file));
  if (backing.preallocated) {
    if (hostFree < bytes - previousBytes) {
      throw new CoppiceError(
        'no_space',
        `The pool ${path} is preallocated and would need ${formatSize(bytes - previousBytes)} more, but ${dirname(file)} has ${formatSize(hostFree)} free.`,
        { neededBytes: bytes - previousBytes, availableBytes: hostFree },
      );
    }
    allocateFile(target.fd, bytes);
  } else resizeBackingFile(target.fd, bytes, file);
  flush(target.fd);
  setCapacity(device);
  root.backend.grow(root.fd, root.path);
  const allocated = fstatSync(target.fd).blocks * 512;
  return { path: root.path, bytes, previousBytes, overcommitted: bytes - allocated > hostFree };
}

function setCapacity(device: string): void {
  const LOOP_SET_CAPACITY = 0x4c07n;
  using loop = new Descriptor(openSync(device, constants.O_RDWR));
  call('ioctlValue', 'LOOP_SET_CAPACITY', loop.fd, LOOP_SET_CAPACITY, 0);
}

function freeBytesOf(directory: string): number {
  using descriptor = new Descriptor(openSync(directory, 'r'));
  return fileSystemSpace(descriptor.fd).freeBytes;
}
