import { btrfsMagic } from '../../linux/btrfs.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { hasErrno, SystemError } from '../../linux/system-calls.ts';
import { namelessFile, probeFiles } from './file-probes.ts';
import { type DoctorFinding, info, ok, warning } from './finding.ts';
import { probeNames } from './name-probes.ts';
import { adoptionObstacle } from './place.ts';
import { makeProbeDirectory } from './probe-directory.ts';
import type { Situation } from './situation.ts';

/** Tries in a directory that is no pool what a pool would do there. In a pool it is tried as the pool does it. */
export async function probeFindings(situation: Situation): Promise<DoctorFinding[]> {
  const { directory, kind, mount } = situation;
  if (kind === 'pool') return [];
  if (mount?.options.includes('ro')) {
    return [
      warning(
        'probe.skipped',
        directory,
        `${directory} is mounted read-only, so nothing could be tried in it, and there can be no new pool.`,
        'Mount it writable; if it has become read-only by itself, "dmesg" says why.',
      ),
    ];
  }
  try {
    return await probe(situation);
  } catch (failure) {
    return [skipped(directory, failure)];
  }
}

async function probe(situation: Situation): Promise<DoctorFinding[]> {
  const { directory, fd } = situation;
  const isBtrfs = fileSystemSpace(fd).type === btrfsMagic;
  await using place = await makeProbeDirectory({ path: directory, fd });
  const fallback = { fd: place.fd, name: place.names[2] };
  const files = probeFiles(() => namelessFile(place.fd, fallback));
  const names = probeNames(place, isBtrfs);
  const needed = [
    told(warning, 'probe.lock', directory, 'files can be locked', files.lock),
    told(warning, 'probe.no-replace', directory, 'names can be moved without replacing one', names.noReplace),
  ];
  // A file under a pool is only locked and renamed: that it shares no blocks does no harm.
  const canAdopt = adoptionObstacle(situation) === undefined;
  if (situation.kind === 'absent' && !canAdopt) return needed;
  const tell = canAdopt ? warning : info;
  return [
    told(tell, 'reflink.probe', directory, 'files can share blocks', files.reflink),
    told(tell, 'probe.attribute', directory, 'attributes of 8,000 bytes can be kept', files.attribute),
    told(tell, 'probe.lease', directory, 'it can be asked whether a file is open', files.lease),
    told(tell, 'probe.exchange', directory, 'names can be exchanged in one step', names.exchange),
    ...(isBtrfs
      ? [told(tell, 'probe.subvolumes', directory, 'subvolumes can be snapshotted', names.subvolumes)]
      : []),
    ...needed,
  ];
}

/** @param failure what happened instead; undefined when it works */
export function told(
  tell: typeof warning,
  id: string,
  place: string,
  what: string,
  failure: string | undefined,
): DoctorFinding {
  if (failure === undefined) return ok(id, place, `In ${place}, ${what}.`);
  const message = `It was tried in ${place} whether ${what}, and that failed: ${failure}.`;
  // To those that only say so nothing has to be done.
  if (tell === info) return info(id, place, message);
  return tell(id, place, message, 'Put the pool on another file system; "dmesg" may say more.');
}

/** Nothing was found out, for a reason that is no fault of the file system's kind. */
export function skipped(place: string, failure: unknown): DoctorFinding {
  const remedy = remedyFor(failure);
  if (remedy === undefined) throw failure;
  const { message } = failure as Error;
  return warning('probe.skipped', place, `Nothing could be tried in ${place}: ${message}.`, remedy);
}

function remedyFor(failure: unknown): string | undefined {
  if (hasErrno(failure, 'EACCES', 'EPERM')) return 'Run it as root, or as a user who may write there.';
  if (hasErrno(failure, 'ENOSPC', 'EDQUOT', 'no_space')) return 'Free space there.';
  if (hasErrno(failure, 'EROFS', 'EIO', 'io_error')) return '"dmesg" says more; a disk may have failed.';
  return failure instanceof SystemError ? 'Choose another directory.' : undefined;
}
