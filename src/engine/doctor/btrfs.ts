import { readdirSync, readFileSync } from 'node:fs';
import { fileSystemUuid } from '../../linux/btrfs.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { formatSize } from '../../model/sizes.ts';
import { type DoctorFinding, error, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

/** What a btrfs says of itself, in /sys/fs/btrfs: nothing is tried, and root is not needed. */
export function btrfsFindings(situation: Situation): DoctorFinding[] {
  const { mount, fd, directory } = situation;
  if (mount?.type !== 'btrfs') return [];
  const system = `/sys/fs/btrfs/${fileSystemUuid(fd)}`;
  return [
    ...quotaFindings(system, directory),
    ...deviceFindings(system, directory),
    ...metadataFindings(system, directory),
    ...scrubFindings(fileSystemUuid(fd), directory),
  ];
}

function quotaFindings(system: string, directory: string): DoctorFinding[] {
  const enabled = read(`${system}/qgroups/enabled`)?.trim() === '1';
  if (!enabled || read(`${system}/qgroups/mode`)?.trim() === 'squota')
    return [ok('btrfs.quotas', directory, 'No quota groups make snapshots slow.')];
  return [
    warning(
      'btrfs.quotas',
      directory,
      'Quota groups are on, which make snapshots and removals slow, the more the more there are.',
      `If nothing needs them: btrfs quota disable ${directory}`,
    ),
  ];
}

function deviceFindings(system: string, directory: string): DoctorFinding[] {
  return list(`${system}/devinfo`).flatMap((id): DoctorFinding[] => {
    const name = `Device ${id} of the btrfs of ${directory}`;
    if (read(`${system}/devinfo/${id}/missing`)?.trim() === '1') {
      return [
        error(
          'btrfs.device',
          directory,
          `${name} is missing.`,
          'Connect it again, or replace it with "btrfs replace start".',
        ),
      ];
    }
    const counters = read(`${system}/devinfo/${id}/error_stats`) ?? '';
    const counted = [...counters.matchAll(/^(\w+)_errs ([1-9]\d*)$/gm)];
    if (counted.length === 0) return [ok('btrfs.device', directory, `${name} has counted no errors.`)];
    const errors = counted.map(([, kind, count]) => `${kind} ${count}`).join(', ');
    return [
      warning(
        'btrfs.device',
        directory,
        `${name} has counted errors (${errors}): the disk fails, or did at some time.`,
        `Look at "dmesg"; find what is lost with "btrfs scrub start -B ${directory}", replace a disk that fails, then begin to count anew with "btrfs device stats -z ${directory}".`,
      ),
    ];
  });
}

/** Data and metadata get their space in chunks: where all is given out, the metadata can be full while data has room. */
function metadataFindings(system: string, directory: string): DoctorFinding[] {
  const kind = list(`${system}/allocation`).find((name) => name === 'metadata' || name === 'mixed');
  if (kind === undefined) return [];
  const value = (name: string): number => Number(read(`${system}/allocation/${name}`) ?? 0);
  const sectors = list(`${system}/devices`).map((name) =>
    Number(read(`${system}/devices/${name}/size`) ?? 0),
  );
  const size = sectors.reduce((sum, each) => sum + each * 512, 0);
  const given = ['data', 'metadata', 'mixed', 'system'].reduce(
    (sum, name) => sum + value(`${name}/disk_total`),
    0,
  );
  const total = value(`${kind}/total_bytes`);
  const free = Math.max(0, total - value(`${kind}/bytes_used`) - value('global_rsv_size'));
  if (size - given >= total * 0.1 || free >= total * 0.1)
    return [ok('btrfs.metadata', directory, `There is room for metadata (${formatSize(free)} and more).`)];
  return [
    warning(
      'btrfs.metadata',
      directory,
      `Only ${formatSize(free)} of ${formatSize(total)} for metadata are free, and there is no space to give it more: soon nothing can be made, whatever is free for data.`,
      `Make it larger, remove volumes, or turn data's space that is not used into free space: btrfs balance start -dusage=50 ${directory}`,
    ),
  ];
}

/** What btrfs-progs has noted of the last scrub. */
function scrubFindings(uuid: string, directory: string): DoctorFinding[] {
  const status = read(`/var/lib/btrfs/scrub.status.${uuid}`);
  const lost = [...(status ?? '').matchAll(/\|uncorrectable_errors:([1-9]\d*)/g)];
  if (lost.length === 0) return [];
  const count = lost.reduce((sum, [, each]) => sum + Number(each), 0);
  return [
    error(
      'btrfs.scrub',
      directory,
      `The last scrub of this btrfs found ${count} blocks that are lost.`,
      '"dmesg" names the files; replace them from a snapshot or a backup, then scrub again.',
    ),
  ];
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (failure) {
    // An older kernel, a container without /sys, or not ours to read.
    if (hasErrno(failure, 'ENOENT', 'EACCES', 'ENOTDIR')) return undefined;
    throw failure;
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (failure) {
    if (hasErrno(failure, 'ENOENT', 'EACCES')) return [];
    throw failure;
  }
}
