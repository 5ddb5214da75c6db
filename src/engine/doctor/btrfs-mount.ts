import { type DoctorFinding, error, info, warning } from './finding.ts';
import type { Situation } from './situation.ts';

/** How it is mounted. Most options hold for the whole file system, whoever mounted it first. */
export function mountFindings({ mount, directory, rootRights }: Situation): DoctorFinding[] {
  if (mount?.type !== 'btrfs') return [];
  const has = (...options: readonly string[]): boolean =>
    options.some((option) => mount.options.includes(option));
  const subject = mount.mountPoint;
  const findings: DoctorFinding[] = [];
  const add = (finding: DoctorFinding): void => void findings.push(finding);
  if (has('nodatacow', 'nodatasum')) {
    add(
      warning(
        'btrfs.checksums',
        subject,
        `${subject} is mounted with ${has('nodatacow') ? 'nodatacow' : 'nodatasum'}: new data has no checksums, so damage is read back as good data${has('nodatacow') ? ', and each block is copied once after every snapshot all the same' : ''}.`,
        'Mount it without that option, and import or clone again what was written under it.',
      ),
    );
  }
  if (has('autodefrag')) {
    add(
      warning(
        'btrfs.autodefrag',
        subject,
        `${subject} is mounted with autodefrag, which writes data anew that clones and snapshots share, so that each takes space of its own.`,
        'Mount it with noautodefrag.',
      ),
    );
  }
  if (has('nobarrier')) {
    add(
      error(
        'btrfs.nobarrier',
        subject,
        `${subject} is mounted with nobarrier: what was said to be durable is not, and a power cut can destroy the file system.`,
        'Mount it with barrier.',
      ),
    );
  }
  if (has('degraded')) {
    add(
      warning(
        'btrfs.degraded',
        subject,
        `${subject} is mounted with degraded, so that a missing device is not noticed.`,
        'Mount it without that option when all devices are there.',
      ),
    );
  }
  if (mount.options.some((option) => option.startsWith('compress'))) {
    add(
      info(
        'btrfs.compress',
        subject,
        `${subject} compresses data, which cuts it into extents of 128 KiB: templates of more than 20 MiB are then cloned by snapshot, which is slower than a reflink.`,
      ),
    );
  }
  if (!rootRights && !has('user_subvol_rm_allowed')) {
    add(
      info(
        'btrfs.user-subvolumes',
        directory,
        `Removing a large volume takes a while here, because only root may destroy subvolumes, and others have to empty them: ${subject} is mounted without user_subvol_rm_allowed.`,
        `As root: mount -o remount,user_subvol_rm_allowed ${subject}`,
      ),
    );
  }
  return findings;
}
