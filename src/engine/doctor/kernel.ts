import { release } from 'node:os';
import { countDeletedSubvolumes } from '../../linux/btrfs.ts';
import { openDirectoryAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { type DoctorFinding, error, info, ok } from './finding.ts';
import { isBefore, kernelBugs, versionOf } from './kernel-bugs.ts';
import type { Situation } from './situation.ts';

const oldest = [5, 9] as const;
const oldestNode = 24;

/** Whether the kernel has what is needed. What can be tried is tried: distributions add to old versions, and containers forbid. */
export function kernelFindings(situation: Situation): DoctorFinding[] {
  const facts = {
    release: release(),
    fileSystem: situation.mount?.type ?? '',
    checksums: !situation.mount?.options.some((option) => option === 'nodatacow' || option === 'nodatasum'),
    rootRights: situation.rootRights,
  };
  const subject = `Linux ${facts.release}`;
  const old = isBefore(versionOf(facts.release), oldest);
  return [
    old
      ? error(
          'kernel.version',
          subject,
          `${subject} is too old: the system calls that Coppice makes are there from ${oldest.join('.')} on.`,
          'Install a newer kernel; from 6.15 on no fault is known that matters here.',
        )
      : ok('kernel.version', subject, `${subject} is new enough.`),
    ...openat2Findings(situation, subject),
    ...settleFindings(situation, subject),
    ...kernelBugs(facts),
    nodeFinding(),
  ];
}

function openat2Findings({ fd }: Situation, subject: string): DoctorFinding[] {
  try {
    using _ = openDirectoryAt(fd, '.');
    return [ok('kernel.openat2', subject, 'Paths can be opened without following links (openat2).')];
  } catch (failure) {
    if (!hasErrno(failure, 'ENOSYS', 'EPERM')) throw failure;
    return [
      error(
        'kernel.openat2',
        subject,
        'The system call openat2 is missing or forbidden, with which everything in a pool is opened.',
        'Use a kernel from 5.6 on; in a container, allow openat2 in its seccomp profile.',
      ),
    ];
  }
}

function settleFindings({ fd, mount }: Situation, subject: string): DoctorFinding[] {
  if (mount?.type !== 'btrfs') return [];
  return countDeletedSubvolumes(fd) === undefined
    ? [
        info(
          'kernel.settle',
          subject,
          'The kernel can not say whether deleted data has been freed (it can from 6.13 on), so "usage --exact" may count some that is being freed.',
        ),
      ]
    : [ok('kernel.settle', subject, 'Deleted data can be waited for.')];
}

function nodeFinding(): DoctorFinding {
  const { node } = process.versions;
  return Number.parseInt(node, 10) >= oldestNode
    ? ok('kernel.node', `Node ${node}`, `Node ${node} is new enough.`)
    : error(
        'kernel.node',
        `Node ${node}`,
        `Node ${node} is too old.`,
        `Install Node ${oldestNode} or a newer one.`,
      );
}
