import { basename, dirname } from 'node:path';
import type { Held } from '../../drivers/driver.ts';
import { type Blocker, CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { createDisk } from '../disk-work.ts';
import type { Confined } from '../host-files.ts';
import { requireSpace } from '../space.ts';
import { occupancy } from '../visible.ts';
import { type AdoptedBefore, adoptedIn } from './adopted.ts';
import { clashesOf } from './clashes.ts';
import type { Entry } from './entries.ts';
import { extensionOf, type Look, look, whySkipped } from './look.ts';
import { hasSameInode, isRecordOf } from './original.ts';
import { overlayBlockers } from './overlays.ts';
import { usersOf } from './users.ts';
import { volumeBlockers } from './volumes.ts';

export type DiskType = 'template' | 'volume';

export interface AdoptOptions extends Confined {
  /** What disks become. When absent, templates where their directory is called `templates`, else volumes. */
  readonly as?: DiskType;
  /** Other names: from a file's name, or its whole path, to that of the volume. */
  readonly rename?: Readonly<Record<string, string>>;
  /** Copy what can't share its blocks. */
  readonly copy?: boolean;
  /** Take disks that are in use, as a power cut would leave them. Their originals stay. */
  readonly force?: boolean;
  /** Adopt the others where some can't be. */
  readonly keepGoing?: boolean;
  /** Remove each original when its volume is durable; also of what was adopted before. */
  readonly removeOriginals?: boolean;
  readonly dryRun?: boolean;
}

/** What will become of one file. */
export interface PlannedDisk extends Look {
  readonly name: string;
  readonly type: DiskType;
  /** It was adopted before, as this. */
  readonly before?: AdoptedBefore;
  /** Somebody has it open, or may have: it is only here because of `force`. */
  readonly inUse: boolean;
}

export interface Plan {
  readonly disks: readonly PlannedDisk[];
  readonly skipped: ReadonlyArray<{ readonly file: string; readonly reason: string }>;
}

/**
 * Looks at everything before anything is done. Whatever stands in the way of a disk is listed with it.
 * @param work a staged entry, to try in it whether blocks can be shared
 */
export function planAdoption(
  context: Context,
  work: Held,
  entries: readonly Entry[],
  options: AdoptOptions,
): Plan {
  const names = chosenNames(entries, options.rename ?? {});
  const before = adoptedIn(context);
  const skipped = entries.flatMap((entry) => {
    const reason = whySkipped(entry);
    return reason === undefined ? [] : [{ entry, reason }];
  });
  const isSkipped = new Set(skipped.map(({ entry }) => entry));
  const { sharesFiles } = context.driver.info;
  using probe = sharesFiles === true ? createDisk(context, work, 'adopt', 0, '') : undefined;
  const sharing = probe?.fd ?? String(sharesFiles);
  const found = entries
    .filter((entry) => !isSkipped.has(entry))
    .map((entry) => {
      const seen = look(entry, sharing);
      const { record } = seen;
      const known = record && before.find((disk) => isRecordOf(disk.file, record));
      return {
        ...seen,
        name: known?.name ?? names.get(entry) ?? nameFrom(entry.file),
        type: known?.type ?? options.as ?? typeFrom(entry),
        ...(known && { before: known }),
      };
    });
  const disks = decide(context, found, before, options);
  requireSpaceFor(context, disks);
  return { disks, skipped: skipped.map(({ entry, reason }) => ({ file: entry.path, reason })) };
}

type Found = Omit<PlannedDisk, 'inUse'>;

function decide(
  context: Context,
  found: readonly Found[],
  before: readonly AdoptedBefore[],
  options: AdoptOptions,
): PlannedDisk[] {
  const clashes = clashesOf(found);
  const users = usersOf(found, (disk) =>
    options.removeOriginals ? 'open' : disk.before ? 'never' : 'written',
  );
  const overlays = options.removeOriginals ? overlayBlockers(found) : undefined;
  return found.map((disk) => {
    const clash = clashes.get(disk);
    const open = users.get(disk) ?? [];
    return {
      ...disk,
      inUse: open.length > 0,
      blockers: [
        ...disk.blockers,
        ...(clash ? [clash] : []),
        ...(options.removeOriginals || disk.before?.bytes === undefined ? volumeBlockers(disk) : []),
        ...(disk.before ? [] : nameBlockers(context, disk, before)),
        ...(disk.before ? [] : copyBlockers(disk, open.length > 0, options)),
        ...(options.force ? [] : open),
        ...(overlays?.get(disk) ?? []),
        ...(options.removeOriginals ? snapshotBlockers(disk) : []),
      ],
    };
  });
}

/** @throws CoppiceError invalid_argument when a name is for a file that is not there */
function chosenNames(
  entries: readonly Entry[],
  rename: Readonly<Record<string, string>>,
): ReadonlyMap<Entry, string> {
  const names = new Map<Entry, string>();
  for (const [file, name] of Object.entries(rename)) {
    const meant = entries.filter((entry) => entry.file === file || entry.path === file);
    if (meant.length === 0) {
      throw new CoppiceError(
        'invalid_argument',
        `There is no file ${file} to give the name ${name}; write it as it is called in its directory.`,
      );
    }
    for (const entry of meant) names.set(entry, parseVolumeName(String(name)));
  }
  return names;
}

function nameFrom(file: string): string {
  const extension = extensionOf(file);
  return extension === undefined ? file : file.slice(0, -extension.length);
}

/** A directory that is called so holds what disks are made from; any other the disks of machines. */
function typeFrom({ path }: Entry): DiskType {
  return /^templates?$/i.test(basename(dirname(path))) ? 'template' : 'volume';
}

function nameBlockers(context: Context, disk: Found, before: readonly AdoptedBefore[]): Blocker[] {
  const { entry, name, record } = disk;
  const blocker = (what: string, remedy: string): Blocker[] => [{ kind: 'source', what, remedy }];
  try {
    const valid = parseVolumeName(name);
    if (occupancy(context, { area: 'volumes', name: valid }) !== 'taken') return [];
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    return blocker(
      `${entry.label} can't keep its name, because volumes are named with letters, digits, ".", "_" and "-"`,
      'give it another name with --rename FILE=NAME',
    );
  }
  const isOlder =
    record?.filesystem !== undefined &&
    before.some((each) => each.name === name && hasSameInode(each.file, record));
  return blocker(
    isOlder
      ? `${entry.label} has changed since ${name} was adopted from it`
      : `there is already a volume or template named ${name}, which is not known to be made from ${entry.label}`,
    'give the file another name with --rename FILE=NAME',
  );
}

function copyBlockers({ entry, whyCopied }: Found, isOpen: boolean, options: AdoptOptions): Blocker[] {
  if (whyCopied === undefined) return [];
  const blocker = (what: string, remedy: string): Blocker[] => [{ kind: 'source', what, remedy }];
  if (!options.copy)
    return blocker(`${entry.label} has to be copied, because ${whyCopied}`, 'allow that with --copy');
  if (!isOpen || !options.force) return [];
  return blocker(
    `${entry.label} is open, and a copy of it would mix parts from different moments`,
    'stop what uses it',
  );
}

/** They are left out of the volume, so the file is the only place where they are. */
function snapshotBlockers({ entry, image }: Found): Blocker[] {
  if (!image || image.snapshots === 0) return [];
  const snapshots = image.snapshots === 1 ? '1 snapshot' : `${image.snapshots} snapshots`;
  return [
    {
      kind: 'source',
      what: `${entry.label} can't be removed, because it has ${snapshots} inside, which would be lost`,
      remedy:
        'take them out first with "qemu-img convert -l SNAPSHOT", and out of the file with "qemu-img snapshot -d", or adopt without --remove-originals',
    },
  ];
}

/** Each copy is looked at again when its turn comes; this is about all of them together. */
function requireSpaceFor(context: Context, disks: readonly PlannedDisk[]): void {
  const toDo = disks.filter((disk) => !disk.before && disk.blockers.length === 0);
  const copied = toDo.filter((disk) => disk.whyCopied !== undefined);
  const bytes = copied.reduce((sum, { image }) => sum + Number(image?.status.blocks ?? 0n) * 512, 0);
  if (toDo.length > 0) requireSpace(context, 'adopt what was given', bytes);
}
