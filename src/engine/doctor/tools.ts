import { trySandbox } from '../../images/sandbox.ts';
import { findProgram, lastLine, packageOf, runProgram } from '../../linux/programs.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type DoctorFinding, error, ok, warning } from './finding.ts';
import type { Situation } from './situation.ts';

interface Tool {
  readonly program: string;
  /** What can't be done without it. */
  readonly needed: string;
  /** Without it there can be no pool, where there is none yet. */
  readonly first?: true;
}

const tools: readonly Tool[] = [
  { program: 'mkfs.btrfs', needed: 'make a pool in a file or on a device', first: true },
  { program: 'mkfs.xfs', needed: 'make a pool with the driver xfs' },
  { program: 'xfs_growfs', needed: 'grow a pool on xfs' },
  { program: 'mount', needed: 'mount a pool', first: true },
  { program: 'umount', needed: 'destroy a pool' },
  { program: 'wipefs', needed: 'make a pool on a device, and destroy one' },
  { program: 'prlimit', needed: 'import and export qcow2 images' },
  { program: 'bwrap', needed: 'import and export qcow2 images' },
];

/** Which programs are there and can be started, and what can't be done without those that are not. */
export async function toolFindings(situation: Situation): Promise<DoctorFinding[]> {
  const findings = tools.map((tool) => toolFinding(tool, situation));
  const sandboxed = findings.filter((finding) => finding.severity === 'ok').map((finding) => finding.subject);
  const hasSandbox = ['prlimit', 'bwrap'].every((program) => sandboxed.includes(program));
  return [...findings, ...(hasSandbox ? await sandboxFindings() : [])];
}

function toolFinding({ program, needed, first }: Tool, { kind }: Situation): DoctorFinding {
  const id = `tools.${program}`;
  const tell = first && kind !== 'pool' ? error : warning;
  const install = `Install it: apt-get install ${packageOf(program)}`;
  if (findProgram(program) === undefined)
    return tell(id, program, `${program} is not installed; it is needed to ${needed}.`, install);
  try {
    const version = runProgram(program, [program.includes('xfs') ? '-V' : '--version'])
      .split('\n')[0]
      ?.trim();
    return ok(id, program, `${program} is there (${version}).`);
  } catch (failure) {
    if (!(failure instanceof CoppiceError)) throw failure;
    return tell(
      id,
      program,
      `${program} is there, but can't be run; it is needed to ${needed}. It said: ${failure.message}`,
      install,
    );
  }
}

/** The sandbox itself, by running something in it; and qemu-img, which has to be there inside of it. */
async function sandboxFindings(): Promise<DoctorFinding[]> {
  const needed = 'import and export qcow2 images';
  const probe = await trySandbox('true');
  if (probe.code !== 0) {
    return [
      warning(
        'tools.sandbox',
        'bwrap',
        `The sandbox in which images are read can't be made, which is needed to ${needed}. bwrap said: ${lastLine(probe.errors)}.`,
        'Allow namespaces: run it as root, set the sysctls user.max_user_namespaces and kernel.unprivileged_userns_clone, or in a container allow the system calls "clone" and "unshare" and mounts of /proc.',
      ),
    ];
  }
  const found = ok('tools.sandbox', 'bwrap', 'Images can be read in a sandbox.');
  const image = await trySandbox('qemu-img');
  const version = image.output.split('\n')[0]?.trim();
  if (image.code === 0) return [found, ok('tools.qemu-img', 'qemu-img', `qemu-img is there (${version}).`)];
  return [
    found,
    warning(
      'tools.qemu-img',
      'qemu-img',
      `qemu-img is not in /usr/bin, or can't be run there; it is needed to ${needed}. It said: ${lastLine(image.errors)}.`,
      `Install it: apt-get install ${packageOf('qemu-img')}`,
    ),
  ];
}
