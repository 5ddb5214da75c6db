import { constants, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { CoppiceError } from '../model/errors.ts';
import { closingOnFailure, Descriptor } from './files.ts';
import { call, hasErrno } from './system-calls.ts';

/** The block devices of ZFS volumes and of their snapshots. */

/** `_IOR(0x12, 125, char[256])` of OpenZFS: the name of the dataset that an open zvol is. */
const BLKZNAME = 0x8100127dn;
const BLKGETSIZE64 = 0x80081272n;

/** Where udev puts the link to a zvol. It writes a blank as a plus sign. */
export function zvolLink(dataset: string): string {
  return `/dev/zvol/${dataset.replaceAll(' ', '+')}`;
}

/**
 * What a device can be asked: the kernel knows of an open zvol which dataset it is, also when that was renamed a moment ago. Its guid
 * a device does not tell; the name is as good, because the kernel has one dataset of each name at a time.
 */
export interface ZvolIdentity {
  readonly dataset: string;
  readonly bytes: number;
}

/** What an open block device says that it is; undefined for what is no zvol. */
export function identityOf(fd: number): ZvolIdentity | undefined {
  const name = Buffer.alloc(256);
  try {
    call('ioctl', 'BLKZNAME', fd, BLKZNAME, name);
  } catch (error) {
    if (hasErrno(error, 'ENOTTY', 'EINVAL')) return undefined;
    throw error;
  }
  const size = Buffer.alloc(8);
  call('ioctl', 'BLKGETSIZE64', fd, BLKGETSIZE64, size);
  return { dataset: name.toString('latin1', 0, name.indexOf(0)), bytes: Number(size.readBigUInt64LE()) };
}

/** Whether the link of a zvol leads to a device that says it is that zvol, of that size. */
export function isLinked(wanted: ZvolIdentity): boolean {
  try {
    using device = openDevice(zvolLink(wanted.dataset));
    const found = identityOf(device.fd);
    return found?.dataset === wanted.dataset && found.bytes === wanted.bytes;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENXIO', 'ENODEV', 'ENOTDIR')) return false;
    throw error;
  }
}

/** udev makes the link some tenths of a second after the zvol; longer than this only when it is not running. */
const linkTimeout = 20_000;

/**
 * The path of a zvol's device, once it really leads there: a link can be late, or still lead to what had the name before.
 * @throws CoppiceError io_error when it never does
 */
export function waitForLink(wanted: ZvolIdentity): string {
  const until = performance.now() + linkTimeout;
  for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
    if (isLinked(wanted)) return zvolLink(wanted.dataset);
    if (performance.now() > until) throw linkMissing(wanted);
    sleep(pause);
  }
}

/** Opens a zvol that is surely the one that is meant. @throws CoppiceError io_error */
export function openZvol(wanted: ZvolIdentity, access: 'read' | 'write'): Descriptor {
  const path = waitForLink(wanted);
  const device = new Descriptor(openSync(path, access === 'read' ? constants.O_RDONLY : constants.O_RDWR));
  return closingOnFailure(device, () => {
    if (identityOf(device.fd)?.dataset === wanted.dataset) return device;
    throw linkMissing(wanted);
  });
}

function linkMissing({ dataset }: ZvolIdentity): CoppiceError {
  return new CoppiceError(
    'io_error',
    `${zvolLink(dataset)} does not lead to the volume: udev, which makes these links, may not be running here; look at "udevadm settle" and at "zfs get volmode ${dataset}".`,
  );
}

/** Opens it for reading, which neither waits for nor disturbs who has it open. */
function openDevice(path: string): Descriptor {
  return new Descriptor(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
}

/** The number of a zvol's device, as stat(2) gives it, and its name; undefined when its link does not lead there. */
export function deviceOf(dataset: string): { readonly number: bigint; readonly name: string } | undefined {
  try {
    const link = zvolLink(dataset);
    using device = openDevice(link);
    if (identityOf(device.fd)?.dataset !== dataset) return undefined;
    return { number: statSync(link, { bigint: true }).rdev, name: basename(readlinkSync(link)) };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENXIO', 'ENODEV', 'ENOTDIR', 'EINVAL')) return undefined;
    throw error;
  }
}

/** The device and its partitions, by the kernel's names. */
export function partsOf(name: string): string[] {
  try {
    const directory = `/sys/block/${name}`;
    return [name, ...readdirSync(directory).filter((entry) => entry.startsWith(`${name}p`))];
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/** What stands on a block device in the kernel: device mapper, md. */
export function stackedOn(name: string, part: string): string[] {
  const directory = name === part ? `/sys/block/${name}/holders` : `/sys/block/${name}/${part}/holders`;
  try {
    return readdirSync(directory);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/** The number of a device or partition of this name; undefined when it is gone. */
export function numberOf(name: string, part: string): bigint | undefined {
  const directory = name === part ? `/sys/block/${name}` : `/sys/block/${name}/${part}`;
  try {
    const [major = 0, minor = 0] = readFileSync(`${directory}/dev`, 'utf8').trim().split(':').map(Number);
    // As makedev(3) packs them.
    return BigInt(minor & 0xff) | (BigInt(major & 0xfff) << 8n) | (BigInt(minor & ~0xff) << 12n);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

export function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
