import { readdirSync } from 'node:fs';
import { backendAt, backendNames } from '../../drivers/backends.ts';
import { descriptorPath } from '../../linux/files.ts';
import { type DoctorFinding, error, info, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

/** What the path is, and what could become of it. */
export function placeFindings(situation: Situation): DoctorFinding[] {
  const { path, kind, refusal, pool, mount, directory } = situation;
  if (refusal) return [error('place.path', path, refusal.message, remedyFor(refusal.code))];
  if (pool)
    return [ok('place.path', path, `${path} is a pool, on ${mount?.type ?? 'an unknown file system'}.`)];
  if (kind === 'absent') {
    return [
      info(
        'place.path',
        path,
        `There is nothing at ${path} yet.`,
        `Make a pool there, in a file: coppice pool create ${path}${
          adoptionObstacle(situation) === undefined
            ? `; or, because ${directory} lies on a file system that a pool can lie on itself: mkdir ${path} && coppice pool create ${path} --existing`
            : ''
        }`,
      ),
      ...volatileFindings(situation),
    ];
  }
  return [...directoryFindings(situation), ...volatileFindings(situation)];
}

/** Why there can be no pool on the file system of a directory, as the end of a sentence; undefined when there can. */
export function adoptionObstacle({ fd, mount }: Pick<Situation, 'fd' | 'mount'>): string | undefined {
  const backend = backendAt(fd);
  if (backend) return backend.obstacle(fd);
  return `pools lie on ${backendNames()}, and this is ${mount?.type ?? 'another file system'}`;
}

function directoryFindings({ path, fd, mount }: Situation): DoctorFinding[] {
  const obstacle = adoptionObstacle({ fd, mount });
  if (obstacle === undefined) {
    return [
      info(
        'place.path',
        path,
        `${path} is no pool, and could be adopted as one.`,
        `Adopt it: coppice pool create ${path} --existing`,
      ),
    ];
  }
  if (readdirSync(descriptorPath(fd)).length === 0 && mount?.mountPoint !== path) {
    return [
      info(
        'place.path',
        path,
        `${path} is an empty directory and no pool; it can't be adopted as one (${obstacle}), but a pool in a file can be mounted on it.`,
        `Make a pool in a file: coppice pool create ${path}`,
      ),
    ];
  }
  return [
    warning(
      'place.path',
      path,
      `${path} is no pool and can't become one: a mount would hide what is in it, and it can't be adopted, because ${obstacle}.`,
      `Make a pool in a file that is mounted elsewhere: coppice pool create ${path === '/' ? '' : path}/coppice`,
    ),
  ];
}

const network: ReadonlySet<string> = new Set(['nfs', 'nfs4', 'cifs', 'smb3', '9p', 'fuse.sshfs', 'ceph']);

/** What a file under a pool should not lie on. */
function volatileFindings({ path, mount }: Situation): DoctorFinding[] {
  if (!mount) return [];
  if (mount.type === 'tmpfs' || mount.type === 'ramfs') {
    return [
      warning(
        'place.file-system',
        path,
        `${path} lies in memory (${mount.type}): what is there is gone after the next boot.`,
        'Choose a directory on a disk.',
      ),
    ];
  }
  if (network.has(mount.type)) {
    return [
      warning(
        'place.file-system',
        path,
        `${path} lies on another machine (${mount.type}), whose locks and flushes are those of that machine; Coppice has not been tried there.`,
        'Choose a directory on a disk of this machine.',
      ),
    ];
  }
  return [];
}

function remedyFor(code: string): string {
  if (code === 'permission_denied') return 'Run it as root.';
  if (code === 'unsupported') return 'Install a version of Coppice that knows this format.';
  if (code === 'not_a_pool') return 'Mount the pool there, or name the directory of a pool.';
  return '"dmesg" may say more.';
}
