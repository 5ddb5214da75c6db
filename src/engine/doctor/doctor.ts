import { hasErrno } from '../../linux/system-calls.ts';
import { openPool } from '../open-pool.ts';
import { defaultPoolPath } from '../pools/default-path.ts';
import { requireDirectoryPool } from '../pools/open.ts';
import { bootFindings } from './boot.ts';
import { btrfsFindings } from './btrfs.ts';
import { mountFindings } from './btrfs-mount.ts';
import { type DoctorFinding, error, warning } from './finding.ts';
import { kernelFindings } from './kernel.ts';
import { leftoverFindings } from './leftovers.ts';
import { loopDeviceFindings, loopSpeedFindings } from './loop-devices.ts';
import { nodatacowFindings } from './nodatacow.ts';
import { placeFindings } from './place.ts';
import { poolProbeFindings } from './pool-probe.ts';
import { probeFindings } from './probes.ts';
import { rightsFindings } from './rights.ts';
import { type DoctorOptions, lookAround, type PlaceKind, type Situation } from './situation.ts';
import { spaceFindings } from './space.ts';
import { toolFindings } from './tools.ts';

export interface Diagnosis {
  /** Absolute. */
  readonly path: string;
  readonly kind: PlaceKind;
  /** Everything that was looked at, also what is fine. */
  readonly findings: readonly DoctorFinding[];
}

interface Check {
  /** What its failure is told under. */
  readonly topic: string;
  /** What it looks at, as a person would list it. */
  readonly about: string;
  readonly look: (situation: Situation) => readonly DoctorFinding[] | Promise<readonly DoctorFinding[]>;
}

/** In the order in which a person reads them. */
const checks: readonly Check[] = [
  { topic: 'place', about: 'what the path is', look: placeFindings },
  { topic: 'pool', about: 'what is in the pool', look: poolFindings },
  { topic: 'probe', about: 'what the pool can do', look: poolProbeFindings },
  { topic: 'probe', about: 'what the file system can do', look: probeFindings },
  { topic: 'btrfs', about: 'how it is mounted', look: mountFindings },
  { topic: 'btrfs', about: 'whether disks are nodatacow', look: nodatacowFindings },
  { topic: 'btrfs', about: 'the state of btrfs', look: btrfsFindings },
  { topic: 'space', about: 'space', look: spaceFindings },
  { topic: 'boot', about: 'what is mounted at boot', look: bootFindings },
  { topic: 'leftovers', about: 'leftovers of interrupted work', look: leftoverFindings },
  { topic: 'rights', about: 'rights', look: rightsFindings },
  { topic: 'kernel', about: 'the kernel', look: kernelFindings },
  { topic: 'loop', about: 'loop devices', look: loopDeviceFindings },
  { topic: 'loop', about: 'how fast the loop device is', look: loopSpeedFindings },
  { topic: 'tools', about: 'programs', look: toolFindings },
];

/**
 * Looks at a host, and at a pool or a place for one: what is missing, what does not work, what is left over, and what to do about
 * it. Changes nothing that lasts; opening a pool clears what dead processes have left in it, as every command does.
 * @param path a pool, a directory, or one that is not there yet; /var/lib/coppice when absent
 */
export async function doctor(
  path: string = defaultPoolPath,
  options: DoctorOptions = {},
): Promise<Diagnosis> {
  requireDirectoryPool(path, 'doctor');
  using situation = lookAround(path, options);
  const findings: DoctorFinding[] = [];
  const unseen: string[] = [];
  for (const { topic, about, look } of checks) {
    try {
      findings.push(...(await look(situation)));
    } catch (failure) {
      // One that fails never ends the others.
      if (isDenied(failure) && !situation.rootRights) unseen.push(about);
      else findings.push(failed(topic, about, situation.path, failure));
    }
  }
  if (unseen.length > 0) findings.push(unseenFinding(situation.path, unseen));
  return { path: situation.path, kind: situation.kind, findings };
}

async function poolFindings({
  pool,
  path,
  fstab,
  unitDirectory,
}: Situation): Promise<readonly DoctorFinding[]> {
  if (!pool) return [];
  await using opened = await openPool(path, { inline: true });
  const findings = await opened.check({ fstab, unitDirectory });
  return findings.map((finding) => ({ id: 'pool.check', ...finding }));
}

function isDenied(failure: unknown): boolean {
  return hasErrno(failure, 'EACCES', 'EPERM', 'permission_denied');
}

function unseenFinding(path: string, unseen: readonly string[]): DoctorFinding {
  return warning(
    'rights.unseen',
    path,
    `These could not be looked at by this user: ${unseen.join('; ')}.`,
    'Run it as root.',
  );
}

function failed(topic: string, about: string, path: string, failure: unknown): DoctorFinding {
  const message = failure instanceof Error ? failure.message.replace(/\.$/, '') : String(failure);
  return error(
    `${topic}.failed`,
    path,
    `It could not be looked at ${about}: ${message}.`,
    '"dmesg" may say more; if it does not, this is a defect of Coppice: please report it.',
  );
}
