import { manifest } from './manifest.ts';

/** For lintian and dpkg a package must have one; nothing can be sent to a name under .invalid (RFC 2606). */
export const maintainer = 'The Coppice maintainers <maintainers@coppice.invalid>';

/**
 * The first three are what the Node of the package is linked to, in the versions of the symbols that it uses. Nothing is asked of
 * the version of the tools: the options that they are called with are older than Debian 12. util-linux is on every Debian.
 */
export const depends: readonly string[] = [
  'libc6 (>= 2.28)',
  'libgcc-s1 (>= 3.4)',
  'libstdc++6 (>= 7)',
  'btrfs-progs',
  'mount',
];

/** What only some users need: disk images other than raw ones, and pools on xfs. */
export const recommends: readonly string[] = ['bubblewrap', 'qemu-utils', 'xfsprogs'];

interface Architecture {
  /** What Debian calls it. */
  readonly debian: string;
  /** What Node and npm call it. */
  readonly node: string;
}

/** This machine's: the Node in node_modules is for it, so the package is, too. */
export function architecture(): Architecture {
  const debian = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  if (debian === undefined)
    throw new Error(`There is no Debian package for this processor, ${process.arch}.`);
  return { debian, node: process.arch };
}

/** What comes before a release sorts before it: 1.0.0-rc.1 is 1.0.0~rc.1 in Debian. */
export function debianVersion(): string {
  return manifest.version.replace('-', '~');
}

export function control(installedKiB: number): string {
  const fields = {
    Package: manifest.name,
    Version: debianVersion(),
    Architecture: architecture().debian,
    Maintainer: maintainer,
    'Installed-Size': installedKiB,
    Depends: depends.join(', '),
    Recommends: recommends.join(', '),
    Section: 'admin',
    Priority: 'optional',
    Description: description(),
  };
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');
}

function description(): string {
  return `copy-on-write storage for virtual machines
 Coppice stores the disks of virtual machines so that copies cost almost
 nothing: a disk image is imported once as a template, and every clone,
 snapshot and rollback shares the blocks that did not change. Each disk is
 a plain file for Firecracker, cloud-hypervisor or QEMU. There is no
 database; a pool is a directory, on a file or a device. A daemon is there
 for those who want one: it serves pools by gRPC and JSON.
 .
 This package brings its own Node.js ${process.versions.node}, which nothing else uses.`;
}
