import { existsSync, readFileSync } from 'node:fs';
import { type DoctorFinding, info, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

const CAP_SYS_ADMIN = 21n;

/** Whether this process may mount, and look into everything: root, unless a container has taken that from it. */
export function hasRootRights(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return process.geteuid?.() === 0 && (BigInt(`0x${effective}`) & (1n << CAP_SYS_ADMIN)) !== 0n;
}

export function rightsFindings({ rootRights, path }: Situation): DoctorFinding[] {
  const container = containerKind();
  const findings: DoctorFinding[] = [];
  if (container !== undefined) {
    findings.push(
      info(
        'rights.container',
        container,
        `This runs in a container (${container}): mounts and loop devices of the host, and processes of others that have a disk open, are not seen from here.`,
      ),
    );
  }
  if (rootRights) return [...findings, ok('rights.root', path, 'This runs as root.')];
  if (process.geteuid?.() === 0) {
    return [
      ...findings,
      warning(
        'rights.root',
        path,
        'This is root without the right to mount (CAP_SYS_ADMIN), as in most containers; pools in files and on devices can be neither made nor mounted here.',
        'Make and mount the pool on the host and give its directory to the container, or run a container with that right.',
      ),
    ];
  }
  return [
    ...findings,
    info(
      'rights.root',
      path,
      'This does not run as root. These need it: making, mounting, growing, persisting and destroying a pool in a file or on a device; seeing who has a disk open that belongs to another user; everything in a pool that belongs to root.',
      'Run it as root to look at all of it.',
    ),
  ];
}

function containerKind(): string | undefined {
  if (existsSync('/.dockerenv')) return 'docker';
  if (existsSync('/run/.containerenv')) return 'podman';
  try {
    const name = /(?:^|\0)container=([^\0]*)/.exec(readFileSync('/proc/1/environ', 'utf8'))?.[1];
    return name === '' ? undefined : name;
  } catch {
    return undefined; // not ours to read without root
  }
}
