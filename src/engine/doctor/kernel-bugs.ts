import type { DoctorFinding } from './finding.ts';

/** What the machine is like, as far as a fault of a kernel depends on it. */
export interface KernelFacts {
  /** As uname(2) says it: `6.1.0-18-amd64`. */
  readonly release: string;
  /** The type of the file system of the pool, or of the one that could become one. */
  readonly fileSystem: string;
  readonly checksums: boolean;
  readonly rootRights: boolean;
}

interface KernelBug {
  readonly id: string;
  readonly severity: 'info' | 'warning';
  readonly since?: Version;
  /** The first version without it; absent where none is known. */
  readonly fixedIn?: Version;
  /** Who is affected. */
  readonly affects: (facts: KernelFacts) => boolean;
  readonly message: string;
  readonly remedy: string;
  /** Where it is known from. */
  readonly source: string;
}

type Version = readonly [major: number, minor: number];

const bugs: readonly KernelBug[] = [
  {
    id: 'direct-io-checksums',
    severity: 'warning',
    fixedIn: [6, 15],
    affects: (facts) => facts.fileSystem === 'btrfs' && facts.checksums,
    message:
      'A machine that writes past the cache of the host (O_DIRECT, as with cache=none in QEMU) and changes its memory meanwhile leaves data whose checksum is wrong, which reads as an I/O error.',
    remedy:
      'Use a kernel from 6.15 on, or have machines write through the cache of the host (cache=writeback).',
    source: 'Linux commit 968f19c5b1b7',
  },
  {
    id: 'start-sync',
    severity: 'info',
    affects: (facts) => facts.fileSystem === 'btrfs' && !facts.rootRights,
    message:
      'The only way for a user who is not root to commit (START_SYNC) now and then waits for the next regular commit, up to 30 s, when others commit at the same time.',
    remedy: 'Run commands as root where that matters.',
    source: 'docs/facts.md, "Durability"; measured on Linux 6.18',
  },
];

/** The known faults of a kernel that matter here. */
export function kernelBugs(facts: KernelFacts): DoctorFinding[] {
  const version = versionOf(facts.release);
  return bugs
    .filter((bug) => isBetween(version, bug.since, bug.fixedIn) && bug.affects(facts))
    .map(({ id, severity, message, remedy, source }) => ({
      id: `kernel.bug.${id}`,
      severity,
      subject: `Linux ${facts.release}`,
      message: `${message} (${source})`,
      remedy,
    }));
}

export function isBefore(version: Version, other: Version): boolean {
  return version[0] < other[0] || (version[0] === other[0] && version[1] < other[1]);
}

/** Distributions write more behind it, and repair faults without changing it: so a fault may be told that is not there any more. */
export function versionOf(release: string): Version {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major), Number(minor)];
}

function isBetween(version: Version, since: Version = [0, 0], fixedIn?: Version): boolean {
  return !isBefore(version, since) && (fixedIn === undefined || isBefore(version, fixedIn));
}
