import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { loopBackingFile, readMounts } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { shellWord } from '../../model/shell-word.ts';
import { cachingLoop } from '../pools/loop-speed.ts';
import { type DoctorFinding, error, info, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

const control = '/dev/loop-control';

/** Whether a pool in a file can be mounted. */
export function loopDeviceFindings({ kind, pool, rootRights }: Situation): DoctorFinding[] {
  if (pool && pool.backing.type !== 'loop') return [];
  const tell = kind === 'absent' ? error : warning;
  const remedy =
    'Load the module with "modprobe loop"; in a container, the host has to give it /dev/loop-control, loop devices and the right to use them.';
  const failure = rootRights ? openFailure() : existsSync(control) ? undefined : 'it is not there';
  if (failure !== undefined)
    return [
      tell(
        'loop.control',
        control,
        `A pool in a file needs loop devices, and ${control} can't be used: ${failure}.`,
        remedy,
      ),
    ];
  const devices = loopNodes();
  const free = devices.filter((device) => loopBackingFile(device) === undefined);
  const grows = readMounts().findLast((mount) => mount.mountPoint === '/dev')?.type === 'devtmpfs';
  if (free.length === 0 && !grows) {
    return [
      warning(
        'loop.free',
        control,
        `All ${devices.length} loop devices in /dev are in use, and new ones do not appear there by themselves.`,
        'Detach one that nobody needs ("losetup --list" shows them), or make more with mknod.',
      ),
    ];
  }
  return [ok('loop.control', control, 'There are loop devices for pools in files.')];
}

/** A mount at boot can't set it. */
export function loopSpeedFindings({ path, pool }: Situation): DoctorFinding[] {
  const device = pool?.backing.type === 'loop' ? cachingLoop(path) : undefined;
  if (device === undefined) return [];
  return [
    info(
      'loop.page-cache',
      device,
      `${device} under ${path} keeps all that is read and written in the host's page cache a second time.`,
      `coppice pool create ${shellWord(path)} sets it to direct I/O`,
    ),
  ];
}

/** Opening it makes nothing. */
function openFailure(): string | undefined {
  try {
    closeSync(openSync(control, 'r+'));
    return undefined;
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT')) return 'it is not there';
    if (hasErrno(failure, 'EPERM', 'EACCES', 'ENODEV', 'ENXIO')) return (failure as Error).message;
    throw failure;
  }
}

export function loopNodes(): string[] {
  return readdirSync('/dev')
    .filter((name) => /^loop\d+$/.test(name))
    .map((name) => `/dev/${name}`);
}
