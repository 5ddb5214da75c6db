import { btrfsMagic, fileSystemUuid, subvolumeInfo } from './btrfs.ts';
import { call } from './system-calls.ts';
import { xfsGeometry, xfsMagic } from './xfs.ts';

const ext4Magic = 0xef53n;

/** The fields of struct statfs, each as long as a machine word. */
const fields = new BigUint64Array(15);

/**
 * What tells the inode numbers of one file system, on btrfs of one subvolume, from those of every other, and is the same after the
 * next mount; undefined where nothing is known to. The identity in statfs(2) is no such thing everywhere: on many file systems it
 * is the number of the device.
 */
export function fileSystemIdentity(fd: number): string | undefined {
  call('fstatfs', 'file system', fd, fields);
  const [type, identity] = [fields[0], fields[7]];
  if (type === BigInt(btrfsMagic)) return `btrfs-${fileSystemUuid(fd)}-${subvolumeInfo(fd).id}`;
  if (type === BigInt(xfsMagic)) return `xfs-${xfsGeometry(fd).uuid}`;
  // Made from its UUID.
  return type === ext4Magic && identity ? `ext4-${identity.toString(16)}` : undefined;
}
