import { constants, fstatSync } from 'node:fs';
import { resolve } from 'node:path';
import { detectFormat, type ImageFormat } from '../images/format.ts';
import { readQcow2Header } from '../images/qcow2.ts';
import type { Descriptor } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import { roundSize } from '../model/sizes.ts';
import { type Confined, openOnHost } from './host-files.ts';

/** A disk image of somebody else's, open, as it was when it was looked at. */
export interface SourceImage {
  readonly fd: number;
  /** How the user calls it. */
  readonly path: string;
  readonly format: ImageFormat;
  /** The size of the disk in it, and that of the volume made from it. */
  readonly imageBytes: number;
  readonly bytes: number;
  /** How many snapshots a qcow2 image has inside. */
  readonly snapshots: number;
  /** Of the file itself. */
  readonly status: SourceStatus;
}

export interface SourceStatus {
  readonly size: bigint;
  readonly blocks: bigint;
  readonly ino: bigint;
  readonly ctimeNs: bigint;
}

/**
 * @param unit what the size of a disk is a multiple of
 * @throws CoppiceError invalid_image
 */
export function readSourceImage(
  fd: number,
  path: string,
  declared: ImageFormat | undefined,
  unit?: number,
): SourceImage {
  const status = fstatSync(fd, { bigint: true });
  const format = detectFormat(fd, path, declared);
  const { bytes: imageBytes, snapshots } =
    format === 'qcow2' ? readQcow2Header(fd, path) : { bytes: Number(status.size), snapshots: 0 };
  if (imageBytes === 0)
    throw new CoppiceError('invalid_image', `${path} is empty; an image has at least one byte.`);
  return { fd, path, format, imageBytes, bytes: roundSize(imageBytes, unit), snapshots, status };
}

/** Opens a path that a user gave. @throws CoppiceError not_found, permission_denied, invalid_image */
export function openSource(path: string, confined: Confined): Descriptor {
  let descriptor: Descriptor;
  try {
    // Not blocking: a pipe put in the place of an image must not hang us.
    descriptor = openOnHost(resolve(path), constants.O_RDONLY | constants.O_NONBLOCK, confined);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no file ${path}.`, { cause: error });
    if (hasErrno(error, 'EACCES', 'EPERM', 'ENXIO')) {
      throw new CoppiceError('permission_denied', `${path} can't be read; check its owner and mode.`, {
        cause: error,
      });
    }
    throw error;
  }
  if (fstatSync(descriptor.fd).isFile()) return descriptor;
  descriptor[Symbol.dispose]();
  throw new CoppiceError('invalid_image', `${path} is not a regular file; give the path of a disk image.`);
}

/** The time of the last change of the file's own record can't be set back, as that of its data can. */
export function requireUnchanged({ fd, path, status }: SourceImage): void {
  const after = fstatSync(fd, { bigint: true });
  if (after.size === status.size && after.ctimeNs === status.ctimeNs) return;
  throw new CoppiceError(
    'invalid_image',
    `${path} was changed while it was imported; import it again when nobody writes to it.`,
  );
}
