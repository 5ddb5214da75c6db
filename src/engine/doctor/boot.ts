import { existsSync } from 'node:fs';
import { readMounts } from '../../linux/mounts.ts';
import { isSame } from '../../linux/same-file.ts';
import { presentSource } from '../pools/beneath.ts';
import { fstabLines } from '../pools/fstab.ts';
import { mountUnits } from '../pools/mount-unit.ts';
import { readIfAny } from '../pools/replace-file.ts';
import { type DoctorFinding, info, ok, warning } from './finding.ts';
import { carriesPoolLabel } from './pool-label.ts';
import type { Situation } from './situation.ts';

/** One line or unit that mounts something at boot. */
interface Entry {
  readonly file: string;
  readonly source: string;
  readonly mountPoint: string;
}

/** What mounts pools at boot, against what there is: of all pools on files, and of this one on whatever it lies. */
export function bootFindings(situation: Situation): DoctorFinding[] {
  const entries = [...fstabEntries(situation), ...unitEntries(situation)];
  const found = entries.flatMap((entry) => entryFindings(entry, situation));
  const isPersistent = entries.some(({ mountPoint }) => mountPoint === situation.path);
  return [
    ...found,
    ...(isPersistent ? [] : [...absenceFindings(situation), ...unmountedFindings(situation)]),
  ];
}

/** Lines as `pool persist` writes them, and whatever is mounted on the path. */
function fstabEntries({ fstab, path }: Situation): Entry[] {
  return fstabLines(readIfAny(fstab) ?? '')
    .filter(
      ({ mountPoint, options }) =>
        mountPoint === path ||
        ['loop', 'nofail', 'nodev', 'nosuid'].every((option) => options.includes(option)),
    )
    .map(({ source, mountPoint }) => ({ file: fstab, source, mountPoint }));
}

function unitEntries({ unitDirectory }: Situation): Entry[] {
  return mountUnits(unitDirectory, 'pool').map(({ file, what, where }) => ({
    file,
    source: what,
    mountPoint: where,
  }));
}

function entryFindings({ file, source, mountPoint }: Entry, { path, kind }: Situation): DoctorFinding[] {
  const present = pathOf(source);
  const mounted = readMounts().findLast((mount) => mount.mountPoint === mountPoint);
  const now = mounted && presentSource(mounted.source);
  const isThere = existsSync(present);
  if (now !== undefined && !(isSame(present, now) || isSame(present, mounted?.source ?? ''))) {
    return [
      warning(
        'boot.moved',
        mountPoint,
        `${file} mounts ${source} on ${mountPoint} at boot${isThere ? '' : ', which is not there'}; what is mounted there now is ${now}.`,
        `If that is the pool: coppice pool persist ${mountPoint}; else take the entry out of ${file}.`,
      ),
    ];
  }
  if (!isThere) {
    return [
      warning(
        'boot.gone',
        mountPoint,
        `${file} mounts ${source} on ${mountPoint} at boot, but that is not there.`,
        `Put it back, or take the entry out of ${file}.`,
      ),
    ];
  }
  if (now === undefined) {
    return [
      warning(
        'boot.unmounted',
        mountPoint,
        `${file} mounts ${source} on ${mountPoint} at boot, and it is not mounted now.`,
        `Mount it: mount ${mountPoint}`,
      ),
    ];
  }
  return [
    ok(
      'boot.entry',
      mountPoint,
      `${file} mounts ${source} on ${mountPoint}${path === mountPoint && kind !== 'pool' ? ', which is no pool' : ''}.`,
    ),
  ];
}

function absenceFindings({ pool, path }: Situation): DoctorFinding[] {
  if (!pool || pool.backing.type === 'existing') return [];
  return [
    info(
      'boot.none',
      path,
      `Nothing mounts ${path} at boot.`,
      `To have it mounted at every boot: coppice pool persist ${path}`,
    ),
  ];
}

/** The file that `pool create` makes by itself. */
function unmountedFindings({ path, pool }: Situation): DoctorFinding[] {
  const file = `${path}.img`;
  if (pool || !existsSync(file) || !carriesPoolLabel(file)) return [];
  return [
    warning(
      'boot.unmounted',
      path,
      `${file} is the file of a pool, and is not mounted on ${path}.`,
      `Mount it: coppice pool create ${path}`,
    ),
  ];
}

/** A device that is named by its file system's id has a link by that name while it is there. */
function pathOf(source: string): string {
  const [, tag, value] = /^(UUID|LABEL|PARTUUID|PARTLABEL)="?([^"]*)"?$/.exec(source) ?? [];
  return tag === undefined ? source : `/dev/disk/by-${tag.toLowerCase()}/${value}`;
}
