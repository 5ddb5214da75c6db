import type { HypervisorTarget } from './target.ts';

/** What only the guest can do, after its hypervisor was told. A whole disk without partitions needs no first step. */
export function guestSteps(kind: HypervisorTarget['kind']): readonly string[] {
  return [...(kind === 'qmp' ? [] : [look]), ...always];
}

const look = 'see that the disk has its new size: "lsblk"';

const always = [
  'grow the partition, if the disk has any: "growpart /dev/DISK NUMBER"',
  'grow the file system: ext4 "resize2fs /dev/PARTITION", xfs "xfs_growfs DIRECTORY", btrfs "btrfs filesystem resize max DIRECTORY"',
];
