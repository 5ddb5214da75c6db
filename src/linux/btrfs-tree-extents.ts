import { ItemReader } from './btrfs-items.ts';
import { fixedMemory } from './direct-calls.ts';
import { attempt, SystemError } from './system-calls.ts';

/** What is in a whole subvolume: numbers and offsets from linux/btrfs.h and linux/btrfs_tree.h. Needs root. */

const itemTypes = { inode: 1, extentData: 108 } as const;
/** Of files; what is above is for what the file system keeps for itself. */
const [firstInode, lastInode] = [256, 2 ** 52];
const LOGICAL_INO_V2 = 0xc038943bn;
const ENOENT = 2;

export interface TreeExtents {
  /** Bytes of all regular files, as they show them; one with two names counts once. */
  readonly logicalBytes: number;
  /** The bytes of each extent that a file refers to, by where it lies. Data in the tree itself is in none. */
  readonly extents: ReadonlyMap<number, number>;
}

/** Reads every item of the subvolume that a descriptor is the root of. Flush and commit first. */
export function readTreeExtents(fd: number): TreeExtents {
  const extents = new Map<number, number>();
  let logicalBytes = 0;
  const whole = { from: { inode: firstInode, type: 0 }, to: { inode: lastInode, type: 0xff } };
  new ItemReader(fd).visit(whole, 'many', ({ type, data }) => {
    if (type === itemTypes.inode && isRegular(data)) logicalBytes += Number(data.readBigUInt64LE(16));
    if (type !== itemTypes.extentData || data.readUInt8(20) === 0) return;
    const address = Number(data.readBigUInt64LE(21));
    if (address !== 0) extents.set(address, Number(data.readBigUInt64LE(29)));
  });
  return { logicalBytes, extents };
}

function isRegular(inode: Buffer): boolean {
  return (inode.readUInt32LE(52) & 0o170000) === 0o100000;
}

/** References that fit: more than a file of a database has to one extent, and the kernel says when it knows more. */
const answer = { bytes: 2 ** 20, memory: undefined as ReturnType<typeof fixedMemory> | undefined };

/**
 * Whether nothing refers to an extent but files of one subvolume.
 * @param id of the subvolume
 */
export function refersOnly(fd: number, address: number, id: bigint): boolean {
  answer.memory ??= fixedMemory(answer.bytes);
  const { bytes, address: memory } = answer.memory;
  const request = Buffer.alloc(56);
  const ignoreOffset = 1n;
  request.writeBigUInt64LE(BigInt(address), 0);
  request.writeBigUInt64LE(BigInt(answer.bytes), 8);
  request.writeBigUInt64LE(ignoreOffset, 40);
  request.writeBigUInt64LE(memory, 48);
  const result = attempt('ioctl', 'LOGICAL_INO_V2', fd, LOGICAL_INO_V2, request);
  if (result === -ENOENT) return false; // rewritten meanwhile
  if (result < 0) throw new SystemError(-result, 'ioctl', 'LOGICAL_INO_V2');
  const [found, missed] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
  for (let at = 16; at < 16 + found * 8; at += 24) if (bytes.readBigUInt64LE(at + 16) !== id) return false;
  // So many in one subvolume that they don't fit: others may be elsewhere.
  return missed === 0;
}
