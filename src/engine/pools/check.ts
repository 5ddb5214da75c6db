import type { Held, Place } from '../../drivers/driver.ts';
import { standsInTheWay } from '../../linux/files.ts';
import { presentFile } from '../../linux/loops.ts';
import { mountOf } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Name } from '../../model/names.ts';
import { formatSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import { problemsIn } from '../problems.ts';
import { poolSpace } from '../space.ts';
import { volumesOf } from '../visible.ts';
import type { BootFiles } from './boot-entry.ts';

export interface Finding {
  readonly severity: 'error' | 'warning';
  /** What it is about: a volume, a snapshot, a path. */
  readonly subject: string;
  readonly message: string;
}

/**
 * Looks through a pool for what a person should know: space that runs out, things that Coppice did not make, volumes that were
 * changed behind its back, work that was interrupted and could not be finished. Changes nothing.
 */
export function checkPool(context: Context, files: BootFiles = {}): Finding[] {
  return [
    ...spaceFindings(context),
    ...backingFindings(context),
    ...foreignEntries(context),
    ...volumeFindings(context, files),
    ...copyFindings(context),
    ...leftovers(context),
  ];
}

function spaceFindings(context: Context): Finding[] {
  const space = poolSpace(context);
  const findings: Finding[] = [];
  if (space.freeBytes < space.totalBytes * 0.05) {
    findings.push({
      severity: 'warning',
      subject: context.path,
      message: `The pool has ${formatSize(space.freeBytes)} of ${formatSize(space.totalBytes)} free; remove volumes or snapshots, or make it larger with "coppice pool grow SIZE".`,
    });
  }
  if (space.host && space.host.freeBytes < space.host.reserveBytes) {
    findings.push({
      severity: 'error',
      subject: space.host.path,
      message: `The host has ${formatSize(space.host.freeBytes)} free under the pool's file; when it is full the pool turns read-only. Free space there now.`,
    });
  } else if (space.host && space.host.freeBytes < space.freeBytes) {
    findings.push({
      severity: 'warning',
      subject: space.host.path,
      message: `The pool promises ${formatSize(space.freeBytes)}, but the host under its file has only ${formatSize(space.host.freeBytes)} free.`,
    });
  }
  return findings;
}

function backingFindings(context: Context): Finding[] {
  const { backing } = context.metadata;
  const mount = context.driver.info.isMounted ? mountOf(context.path) : undefined;
  const findings: Finding[] = [];
  if (mount?.options.includes('ro')) {
    findings.push({
      severity: 'error',
      subject: context.path,
      message: `${context.path} is mounted read-only; look at "dmesg" for the reason.`,
    });
  }
  const file = mount && presentFile(mount.source);
  if (backing.type === 'loop' && file?.state === 'deleted') {
    findings.push({
      severity: 'error',
      subject: file.path,
      message: `The file under the pool has been deleted; it lives only as long as it is mounted. Copy the volumes out with "coppice export" before anything else.`,
    });
  }
  return findings;
}

function foreignEntries(context: Context): Finding[] {
  const findings: Finding[] = context.driver.foreign().map((name) => ({
    severity: 'warning',
    subject: `${context.path}/${name}`,
    message: `${context.path}/${name} was not made by Coppice; it is left alone.`,
  }));
  for (const record of volumesOf(context)) {
    if (record.metadata?.type === 'volume') continue;
    const subject = context.driver.label({ area: 'volumes', name: record.name as Name });
    findings.push({
      severity: 'warning',
      subject,
      message: `${subject} was not made by Coppice, has lost its metadata, or can't be read by this user; it is left alone.`,
    });
  }
  return findings;
}

function volumeFindings(context: Context, files: BootFiles): Finding[] {
  return volumesOf(context).flatMap(({ name: text, metadata, snapshotRecords }): readonly Finding[] => {
    if (metadata?.type !== 'volume') return [];
    const name = text as Name;
    return holding(context, { area: 'volumes', name }, name, (held) =>
      problemsIn(context, { name, metadata, held }, snapshotRecords, files),
    );
  });
}

/** An id belongs to one volume. Whoever has copied a directory has copied the id too. */
function copyFindings(context: Context): Finding[] {
  const byId = Map.groupBy(
    volumesOf(context).filter((record) => record.metadata?.type === 'volume'),
    ({ metadata }) => (metadata?.type === 'volume' ? metadata.id : ''),
  );
  return [...byId.values()].flatMap((records) => {
    if (records.length < 2) return [];
    const names = records.map((record) => record.name).sort();
    const message = `${names.join(' and ')} have the same id: other tools have copied one from the other; import the disk of the copy under another name, and remove the copy.`;
    return names.map((subject): Finding => ({ severity: 'error', subject, message }));
  });
}

/** Looks at a place that nobody is working on. What stands there instead of a directory is a finding too. */
function holding(
  context: Context,
  place: Place,
  subject: string,
  look: (held: Held) => readonly Finding[],
): readonly Finding[] {
  try {
    const held = context.driver.hold(place, 'shared', false);
    if (typeof held === 'string') return [];
    using entry = held;
    return look(entry);
  } catch (error) {
    if (hasErrno(error, 'EACCES', 'EPERM')) {
      const message = `${subject} can't be read by this user; run it as root.`;
      return [{ severity: 'warning', subject, message }];
    }
    if (!standsInTheWay(error)) throw error;
    const message = `A link, a mount or a file stands in the place of ${subject}; remove it.`;
    return [{ severity: 'error', subject, message }];
  }
}

function leftovers(context: Context): Finding[] {
  return (['staging', 'tombstones'] as const).flatMap((area) =>
    context.driver.listEntries(area).flatMap((id) => {
      const subject = context.driver.label({ area, id });
      return holding(context, { area, id }, subject, (entry) => {
        const metadata = context.driver.read(entry);
        if (metadata?.type === 'tombstone') return [];
        if (area === 'tombstones' && context.driver.neededBy?.(entry).length) return [];
        const what =
          metadata?.type === 'rollback'
            ? `the state of ${metadata.volume} that a rollback replaced, and whose volume is gone`
            : 'an unfinished entry that could not be cleared';
        return [{ severity: 'warning', subject, message: `${subject} holds ${what}.` }];
      });
    }),
  );
}
