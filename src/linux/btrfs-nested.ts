import { attempt, call, SystemError } from './system-calls.ts';

/** Subvolumes inside of a subvolume: numbers and offsets from linux/btrfs.h. Works without root, from kernel 4.18 on. */

const GET_SUBVOL_ROOTREF = 0xd000943dn;
const INO_LOOKUP_USER = 0xd000943en;
const requestBytes = 4096;
/** How many references one call returns. */
const capacity = 255;

export interface NestedSubvolume {
  readonly id: bigint;
  readonly name: string;
  /** From the subvolume that it lies in. */
  readonly path: string;
}

/** The subvolumes that lie directly in the one that an open directory is the root of, in whichever of its directories. */
export function nestedSubvolumes(fd: number): NestedSubvolume[] {
  const found: NestedSubvolume[] = [];
  const references = Buffer.alloc(requestBytes);
  for (let least = 0n; ; ) {
    references.writeBigUInt64LE(least, 0);
    const isComplete = readReferences(fd, references);
    const count = references.readUInt8(8 + capacity * 16);
    for (let index = 0; index < count; index++) {
      const id = references.readBigUInt64LE(8 + index * 16);
      found.push({ id, ...namesOf(fd, id, references.readBigUInt64LE(16 + index * 16)) });
      least = id + 1n;
    }
    if (isComplete) return found;
  }
}

/** False when there are more than fit, which the kernel says by EOVERFLOW, having filled in what fits. */
function readReferences(fd: number, references: Buffer): boolean {
  const EOVERFLOW = 75;
  const result = attempt('ioctl', 'GET_SUBVOL_ROOTREF', fd, GET_SUBVOL_ROOTREF, references);
  if (result >= 0) return true;
  if (result === -EOVERFLOW) return false;
  throw new SystemError(-result, 'ioctl', 'GET_SUBVOL_ROOTREF');
}

/** @param directory the number of the directory that holds it, in the subvolume that the descriptor lies in */
function namesOf(fd: number, id: bigint, directory: bigint): { name: string; path: string } {
  const request = Buffer.alloc(requestBytes);
  request.writeBigUInt64LE(directory, 0);
  request.writeBigUInt64LE(id, 8);
  call('ioctl', 'INO_LOOKUP_USER', fd, INO_LOOKUP_USER, request);
  const text = (offset: number): string => request.toString('utf8', offset, request.indexOf(0, offset));
  const name = text(16);
  return { name, path: `${text(272)}${name}` };
}
