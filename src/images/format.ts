import { readSync } from 'node:fs';
import { CoppiceError } from '../model/errors.ts';

export type ImageFormat = 'raw' | 'qcow2';

/** What other formats begin with. A raw disk begins with a boot sector or with zeros, so these are never raw disks. */
const foreign: ReadonlyArray<readonly [magic: string, name: string]> = [
  ['KDMV', 'VMDK'],
  ['COWD', 'VMDK'],
  ['# Disk DescriptorFile', 'VMDK descriptor'],
  ['vhdxfile', 'VHDX'],
  ['conectix', 'VHD'],
  ['QED\0', 'QED'],
  ['<<< ', 'VDI'],
  ['WithoutFreeSpace', 'Parallels'],
  ['WithouFreSpacExt', 'Parallels'],
  ['\x1f\x8b', 'gzip'],
  ['\xfd7zXZ\0', 'xz'],
  ['\x28\xb5\x2f\xfd', 'zstd'],
  ['BZh', 'bzip2'],
  ['PK\x03\x04', 'zip'],
];

export const qcow2Magic = 'QFI\xfb';

/**
 * Decides the format from the first bytes and from what the user says; the two must agree. Only raw and qcow2 are taken: other
 * formats can name files of the host that would be read in their place.
 * @throws CoppiceError invalid_image
 */
export function detectFormat(fd: number, path: string, declared: ImageFormat | undefined): ImageFormat {
  const start = startOf(fd);
  const other = foreignFormat(fd);
  const found = start.startsWith(qcow2Magic) ? 'qcow2' : 'raw';
  if (other && declared !== 'raw') {
    throw new CoppiceError(
      'invalid_image',
      `${path} looks like ${other}, and only raw and qcow2 images are taken; convert or unpack it first, or say --format raw if it really is a raw disk.`,
    );
  }
  if (declared && declared !== found) {
    throw new CoppiceError(
      'invalid_image',
      `${path} was declared ${declared}, but its first bytes say ${found}; give the right --format, or none.`,
    );
  }
  return found;
}

/** What a file is that can't be taken as it is; undefined when nothing says that it can't. */
export function foreignFormat(fd: number): string | undefined {
  const start = startOf(fd);
  return foreign.find(([magic]) => start.startsWith(magic))?.[1];
}

function startOf(fd: number): string {
  const head = Buffer.alloc(32);
  readSync(fd, head, 0, head.length, 0);
  return head.toString('latin1');
}
