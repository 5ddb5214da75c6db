import { readFileSync, statSync, unlinkSync } from 'node:fs';
import { hasErrno } from '../../linux/system-calls.ts';
import {
  createFileSystem,
  datasetExists,
  destroyDataset,
  destroySnapshots,
  setProperties,
} from '../../linux/zfs-core.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type PoolMetadata, poolFormat } from '../../model/metadata.ts';
import type { StoreMade, StoreRequest, StoreRoot } from '../store.ts';
import { runZfs } from './command.ts';
import { layoutOf, poolProperty } from './layout.ts';
import { openLocks } from './locks.ts';
import { lookAt, propertiesOf } from './look.ts';
import { snapshotsOn } from './look-at-snapshots.ts';
import { withoutFiles } from './make.ts';
import { decodeProperty, encodeProperty } from './metadata.ts';
import { differences, newPoolOptions } from './recommended.ts';

/** Making, finding and destroying pools on ZFS. A pool of Coppice is a dataset, which may be all of a zpool. */

/** The dataset that a path names. @throws CoppiceError invalid_argument */
export function datasetOf(path: string): string {
  const dataset = path.replace(/^zfs:/, '');
  // The longest names below it are those of tombstones, and ZFS allows 255 characters.
  if (/^[A-Za-z][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/.test(dataset) && dataset.length <= 70)
    return dataset;
  throw new CoppiceError(
    'invalid_argument',
    `"${dataset}" is no dataset that a pool can be: write POOL or POOL/NAME of letters, digits, ".", "_" and "-", in at most 70 characters.`,
  );
}

export function openRoot(path: string): StoreRoot {
  const dataset = datasetOf(path);
  const { metadata, guid } = explainingZfs(dataset, () => readPool(dataset));
  if (!metadata) {
    throw new CoppiceError(
      'not_a_pool',
      `The dataset ${dataset} is not a pool of Coppice; "coppice pool create ${path} --existing" makes it one.`,
    );
  }
  if (metadata.format > poolFormat) {
    throw new CoppiceError(
      'unsupported',
      `The pool ${path} has format ${metadata.format}, and this version of Coppice knows formats up to ${poolFormat}; install a newer one.`,
    );
  }
  if (metadata.filesystem !== guid) {
    throw new CoppiceError(
      'not_a_pool',
      `${dataset} is a copy of a pool's dataset, not the pool; use that, or take the mark away with "zfs inherit ${poolProperty} ${dataset}".`,
    );
  }
  requireKey(dataset);
  const locks = openLocks(guid);
  return { path, fd: locks.fd, metadata, [Symbol.dispose]: () => locks[Symbol.dispose]() };
}

export function createPool(path: string, request: StoreRequest): StoreMade {
  const dataset = datasetOf(path);
  const steps: string[] = [];
  const isNew = request.devices.length > 0;
  if (isNew) createZpool(dataset, request, steps);
  try {
    return initialise(dataset, request, steps);
  } catch (error) {
    if (isNew) runZfs('zpool', ['destroy', dataset]);
    throw error;
  }
}

function initialise(dataset: string, request: StoreRequest, steps: string[]): StoreMade {
  const isNew = request.devices.length > 0;
  const { metadata: present, guid } = explainingZfs(dataset, () => readPool(dataset));
  const warnings = isNew ? [] : differences(dataset);
  if (present?.filesystem === guid) return { metadata: present, steps, warnings };
  if (!isNew) requireFileSystem(dataset);
  const { own, staging, tombstones, branches } = layoutOf(dataset);
  for (const area of [own, staging, tombstones, branches])
    if (!datasetExists(area)) createFileSystem(area, withoutFiles);
  const metadata: PoolMetadata = {
    type: 'pool',
    format: poolFormat,
    id: request.id,
    created: request.created,
    filesystem: guid,
    backing: isNew ? { type: 'zpool', devices: request.devices } : { type: 'existing' },
  };
  // Last: what has the mark is whole.
  setProperties(dataset, { [poolProperty]: encodeProperty(metadata) });
  steps.push(`made the dataset ${dataset} a pool`);
  return { metadata, steps, warnings };
}

export function destroyPool(path: string, metadata: PoolMetadata): void {
  const dataset = datasetOf(path);
  if (metadata.backing.type === 'zpool') {
    runZfs('zpool', ['destroy', dataset]);
    for (const device of metadata.backing.devices) if (isFile(device)) unlinkSync(device);
    return;
  }
  const { own, staging, tombstones, branches } = layoutOf(dataset);
  for (const area of [branches, tombstones, staging, own]) {
    if (!datasetExists(area)) continue;
    // Those of who takes snapshots of everything.
    destroySnapshots(snapshotsOn(area).map(({ name }) => name));
    destroyDataset(area);
  }
  // Last: as long as the mark is there, this can be run again.
  runZfs('zfs', ['inherit', poolProperty, dataset]);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Of an encrypted dataset whose key is not loaded nothing can be read or made. @throws CoppiceError io_error */
function requireKey(dataset: string): void {
  const { keystatus } = propertiesOf(dataset, ['keystatus']);
  if (keystatus !== 'unavailable') return;
  throw new CoppiceError(
    'io_error',
    `The dataset ${dataset} is encrypted and its key is not loaded; load it with "zfs load-key ${dataset}".`,
  );
}

function createZpool(name: string, { devices, force }: StoreRequest, steps: string[]): void {
  if (name.includes('/')) {
    throw new CoppiceError(
      'invalid_argument',
      `A new pool of ZFS has a name without "/", and ${name} has one; leave out the devices and use --existing for a dataset of a pool that exists.`,
    );
  }
  const ashift = Math.max(12, ...devices.map(sectorExponent));
  runZfs('zpool', ['create', ...(force ? ['-f'] : []), ...newPoolOptions(ashift), name, ...devices]);
  steps.push(`made the ZFS pool ${name} on ${devices.join(' and ')} (ashift=${ashift})`);
}

/** The physical sector of a device, as a power of two; that of a file does not count. */
function sectorExponent(device: string): number {
  const status = statSync(device);
  if (!status.isBlockDevice()) return 0;
  const [major, minor] = [(status.rdev >> 8) & 0xfff, (status.rdev & 0xff) | ((status.rdev >> 12) & ~0xff)];
  for (const directory of ['queue', '../queue']) {
    try {
      const bytes = Number(
        readFileSync(`/sys/dev/block/${major}:${minor}/${directory}/physical_block_size`, 'utf8'),
      );
      return Math.min(16, Math.round(Math.log2(bytes)));
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw error;
    }
  }
  return 0;
}

function readPool(dataset: string): { readonly metadata: PoolMetadata | undefined; readonly guid: string } {
  const { zpool } = layoutOf(dataset);
  const properties = lookAt(dataset);
  if (!properties) {
    // That its whole pool is not imported is told otherwise.
    propertiesOf(zpool, ['guid']);
    throw new CoppiceError(
      'not_a_pool',
      `There is no dataset ${dataset} in the ZFS pool ${zpool}; "zfs create ${dataset}" makes one.`,
    );
  }
  const metadata = decodeProperty(properties[poolProperty]);
  const guid = BigInt.asUintN(64, BigInt(propertiesOf(dataset, ['guid']).guid ?? 0)).toString();
  return { metadata: metadata?.type === 'pool' ? metadata : undefined, guid };
}

function requireFileSystem(dataset: string): void {
  const { type } = propertiesOf(dataset, ['type']);
  if (type === 'filesystem') return;
  throw new CoppiceError(
    'unsupported',
    `${dataset} is a ${type ?? 'thing'} of ZFS, and only a file system can be a pool.`,
  );
}

/** Turns what ZFS says of a pool that is not there, or does not work, into what a person can do about it. */
function explainingZfs<T>(dataset: string, look: () => T): T {
  const { zpool } = layoutOf(dataset);
  try {
    return look();
  } catch (error) {
    if (error instanceof CoppiceError || !(error instanceof Error)) throw error;
    const fail = (code: ConstructorParameters<typeof CoppiceError>[0], why: string): CoppiceError =>
      new CoppiceError(code, why, { cause: error });
    if ('syscall' in error && error.syscall === 'open' && hasErrno(error, 'ENOENT', 'ENXIO', 'ENODEV')) {
      throw fail(
        'missing_tool',
        'The ZFS module is not loaded: load it with "modprobe zfs"; on Debian the package zfs-dkms brings it.',
      );
    }
    if (hasErrno(error, 'ENOENT'))
      throw fail(
        'not_a_pool',
        `The ZFS pool ${zpool} is not imported here; "zpool import" shows what there is.`,
      );
    if (hasErrno(error, 'EAGAIN', 'EIO', 'ENXIO')) {
      throw fail(
        'io_error',
        `The ZFS pool ${zpool} is suspended or can't be read; look at "zpool status ${zpool}", and when its devices are back, use "zpool clear ${zpool}".`,
      );
    }
    if (hasErrno(error, 'EACCES', 'EPERM'))
      throw fail('permission_denied', `Pools on ZFS are root's: ${error.message}; run it as root.`);
    throw error;
  }
}
