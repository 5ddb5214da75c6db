import { constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Descriptor } from '../../linux/files.ts';
import { isOpenElsewhere } from '../../linux/leases.ts';
import { lock } from '../../linux/locks.ts';
import { presentFile } from '../../linux/loops.ts';
import { mountOf, readMounts } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { type DoctorFinding, ok, warning } from './finding.ts';
import { loopNodes } from './loop-devices.ts';
import { carriesPoolLabel } from './pool-label.ts';
import { probePrefix } from './probe-directory.ts';
import type { Situation } from './situation.ts';

/** What interrupted work has left outside of pools. What is left in a pool, `pool check` says. */
export function leftoverFindings(situation: Situation): DoctorFinding[] {
  const found = [...partialFiles(situation), ...probeDirectories(situation), ...loopDevices(situation)];
  return found.length > 0
    ? found
    : [ok('leftovers.none', situation.path, 'Nothing is left of interrupted work.')];
}

/** Files that `pool create` and `export` had not finished: beside the pool's file, and where it would be. */
function partialFiles({ path, pool }: Situation): DoctorFinding[] {
  const present = pool && presentFile(mountOf(path)?.source ?? '');
  const file = present?.path ?? `${path}.img`;
  const directory = dirname(file);
  const pattern = /^\..+\.(?:coppice-partial|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.partial)$/;
  return namesIn(directory)
    .filter((name) => pattern.test(name))
    .map((name) => join(directory, name))
    .filter((partial) => isAbandoned(partial))
    .map((partial) =>
      warning(
        'leftovers.partial',
        partial,
        `${partial} is what an interrupted ${basename(partial).endsWith('.coppice-partial') ? 'pool create' : 'export'} has left.`,
        'Remove it.',
      ),
    );
}

/** Nobody has it locked or open. */
function isAbandoned(file: string): boolean {
  try {
    using opened = new Descriptor(
      openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
    );
    return lock(opened.fd, 'shared', false) && isOpenElsewhere(opened.fd) === false;
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ELOOP', 'EACCES', 'ENXIO')) return false;
    throw failure;
  }
}

/** Of a doctor that was killed together with what should have cleaned up behind it. */
function probeDirectories({ directory }: Situation): DoctorFinding[] {
  return namesIn(directory)
    .filter((name) => name.startsWith(probePrefix))
    .map((name) => join(directory, name))
    .filter((left) => !isLocked(left))
    .map((left) =>
      warning('leftovers.probe', left, `${left} is what an interrupted doctor has left.`, 'Remove it.'),
    );
}

function isLocked(directory: string): boolean {
  try {
    using opened = new Descriptor(openSync(directory, constants.O_RDONLY | constants.O_NOFOLLOW));
    return !lock(opened.fd, 'shared', false);
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ELOOP', 'EACCES')) return true; // it has gone, or is somebody else's
    throw failure;
  }
}

/** Loop devices on files of pools, or on deleted ones, that nobody has mounted. */
function loopDevices({ rootRights }: Situation): DoctorFinding[] {
  if (!rootRights) return []; // devices are root's to read
  return loopNodes().flatMap((device): DoctorFinding[] => {
    const file = presentFile(device);
    if (!file) return [];
    const mount = readMounts().find(({ source }) => source === device);
    if (mount ? file.state !== 'deleted' : detachesItself(device)) return [];
    // Last: whoever reads a device of somebody else's waits as long as that hangs.
    if (!carriesPoolLabel(device)) return [];
    if (mount) {
      return [
        warning(
          'leftovers.loop',
          device,
          `The file ${file.path} under the pool ${mount.mountPoint} has been deleted, and lives only as long as it is mounted.`,
          `Copy its volumes out before anything else: coppice export --pool ${mount.mountPoint} NAME FILE`,
        ),
      ];
    }
    return [
      warning(
        'leftovers.loop',
        device,
        `${device} holds the file of a pool, ${file.path}${file.state === 'deleted' ? ', which has been deleted' : ''}, and is not mounted here.`,
        file.state === 'deleted'
          ? `If its data is needed, mount ${device} and copy it out; else give its space back: losetup --detach ${device}`
          : `Mount the pool, or let go of the file: losetup --detach ${device}`,
      ),
    ];
  });
}

/** A device that detaches itself when nobody has it open, and is attached: it is mounted where it is not seen from here, or soon will be. */
function detachesItself(device: string): boolean {
  try {
    return readFileSync(`/sys/block/${basename(device)}/loop/autoclear`, 'utf8').trim() === '1';
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ENXIO', 'ENODEV')) return true; // it just has
    throw failure;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'ENOTDIR')) return [];
    throw failure;
  }
}
