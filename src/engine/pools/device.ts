import { constants, openSync, statSync } from 'node:fs';
import type { Backend } from '../../drivers/backend.ts';
import { Descriptor } from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { runProgram } from '../../linux/programs.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type Claim, poolLabel } from './claim.ts';
import { recognisePool } from './recognise.ts';

/** Formats a block device, or takes one that an earlier run formatted. What is on it is never overwritten unasked. */
export function claimDevice(
  device: string,
  wanted: Backend,
  force: boolean,
  did: (step: string) => void,
): Claim {
  const descriptor = openDevice(device);
  let backend: Backend | undefined;
  try {
    // The device's lock also keeps udev from probing it half formatted.
    lock(descriptor.fd, 'exclusive', true);
    backend = poolOn(device, descriptor.fd, force);
    if (!backend) {
      backend = wanted;
      requireFree(device, force);
      backend.format(device, { label: poolLabel, keepBlocks: false, descriptors: [descriptor.fd] });
      did(`formatted ${device} with ${backend.name}`);
    }
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
  return {
    source: device,
    backend,
    lock: descriptor.fd,
    backing: { type: 'device', device },
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

/** The same of a device for storage that is no file system. */
export function requireFreeDevice(device: string, force: boolean): void {
  using descriptor = openDevice(device);
  lock(descriptor.fd, 'exclusive', true);
  requireFree(device, force);
}

function requireFree(device: string, force: boolean): void {
  requireUnused(device);
  const [found] = contentsOf(device);
  if (!found || force) return;
  throw new CoppiceError(
    'already_exists',
    `${device} holds ${found.type}${found.label ? ` labelled "${found.label}"` : ''}, which would be lost; if that is meant, use --force.`,
  );
}

function poolOn(device: string, fd: number, force: boolean): Backend | undefined {
  try {
    return recognisePool(device, fd, () => ({ path: device, [Symbol.dispose]: () => undefined }));
  } catch (error) {
    if (force && error instanceof CoppiceError && error.code === 'damaged') return undefined;
    throw error;
  }
}

function openDevice(device: string): Descriptor {
  try {
    if (statSync(device).isBlockDevice()) return new Descriptor(openSync(device, constants.O_RDONLY));
  } catch (error) {
    throw hasErrno(error, 'ENOENT')
      ? new CoppiceError('not_found', `There is no device ${device}.`, { cause: error })
      : error;
  }
  throw new CoppiceError(
    'invalid_argument',
    `${device} is not a block device; for a pool in a file use --file.`,
  );
}

/** The kernel refuses an exclusive opening of a device that is mounted or part of something. */
function requireUnused(device: string): void {
  try {
    new Descriptor(openSync(device, constants.O_RDONLY | constants.O_EXCL))[Symbol.dispose]();
  } catch (error) {
    if (!hasErrno(error, 'EBUSY')) throw error;
    throw new CoppiceError(
      'blocked',
      `${device} is in use: it is mounted, or part of a volume group or array.`,
      {
        cause: error,
        blockers: [{ kind: 'mounted', what: `${device} is in use`, remedy: 'unmount it' }],
      },
    );
  }
}

function contentsOf(device: string): Array<{ type: string; label: string }> {
  const lines = runProgram('wipefs', ['--noheadings', '--output', 'TYPE,LABEL', '--', device]).split('\n');
  return lines
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [type = '', ...label] = line.trim().split(/\s+/);
      return { type, label: label.join(' ') };
    });
}
