import { createSnapshot, createSubvolume } from '../../linux/btrfs.ts';
import { statusAt } from '../../linux/file-status.ts';
import { exchangeAt, makeDirectoryAt, moveAt, openDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { outcomeOf } from './file-probes.ts';
import type { ProbeDirectory } from './probe-directory.ts';

/** What a file system was found to do: nothing when it does it, else what happened instead, as the end of a sentence. */
export interface NameProbes {
  readonly noReplace: string | undefined;
  readonly exchange: string | undefined;
  /** Only asked of btrfs. */
  readonly subvolumes: string | undefined;
}

/** Tries how names are moved, with what a pool would move: subvolumes on btrfs, else directories. */
export function probeNames({ fd, names: [first, second] }: ProbeDirectory, isBtrfs: boolean): NameProbes {
  const subvolumes = isBtrfs ? outcomeOf(() => probeSubvolumes(fd, first, second)) : undefined;
  if (!isBtrfs || subvolumes !== undefined)
    for (const name of [first, second]) makeDirectoryUnlessThere(fd, name);
  return {
    subvolumes,
    noReplace: outcomeOf(() => probeNoReplace(fd, first, second)),
    exchange: outcomeOf(() => probeExchange(fd, first, second)),
  };
}

function probeSubvolumes(fd: number, source: string, copy: string): undefined {
  createSubvolume(fd, source);
  using opened = openDirectoryAt(fd, source);
  createSnapshot(opened.fd, fd, copy, 'writable');
}

function probeNoReplace(fd: number, from: string, to: string): string | undefined {
  try {
    moveAt(fd, from, fd, to);
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return undefined;
    throw error;
  }
  makeDirectoryUnlessThere(fd, from);
  return 'a name that was taken has been replaced';
}

function probeExchange(fd: number, first: string, second: string): string | undefined {
  const before = [identityOf(fd, first), identityOf(fd, second)];
  exchangeAt(fd, first, fd, second);
  const isExchanged = identityOf(fd, first) === before[1] && identityOf(fd, second) === before[0];
  return isExchanged ? undefined : 'the names have not been exchanged';
}

/** Subvolumes have the same inode, and devices of their own. */
function identityOf(fd: number, name: string): string {
  const { device, inode } = statusAt(fd, name);
  return `${device}:${inode}`;
}

function makeDirectoryUnlessThere(fd: number, name: string): void {
  try {
    makeDirectoryAt(fd, name);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
  }
}
