import type { TreePlace } from '../../model/tree-place.ts';
import {
  type BootEntry,
  type BootFiles,
  dropLine,
  fstabOf,
  putLine,
  putUnit,
  requireNoLineBreak,
  unitDirectoryOf,
} from '../pools/boot-entry.ts';
import { fstabLine, fstabLines, requiresMountsOption } from '../pools/fstab.ts';
import { mountUnit, mountUnits, removeUnit } from '../pools/mount-unit.ts';
import { readIfAny } from '../pools/replace-file.ts';

export interface BootRequest {
  readonly at: TreePlace;
  /** The directory of the tree in the pool. */
  readonly tree: string;
  readonly pool: string;
  readonly files: BootFiles;
}

/** Has a tree mounted at every boot, after its pool, in the way that its place says and in no other. */
export function putBootEntry(request: BootRequest, dryRun: boolean): BootEntry | undefined {
  const { at, tree, pool, files } = request;
  // A boot without the pool goes on without the tree, too.
  if (at.boot === 'fstab') {
    const options = ['bind', 'nofail', ...requiresMountsOption(pool)];
    const text = fstabLine({ source: tree, mountPoint: at.path, type: 'none' }, options);
    const isOurs = isTreeOf(pool);
    const entry = putLine({ file: fstabOf(files), mountPoint: at.path, text, isOurs, dryRun });
    if (!dryRun) removeUnit(unitDirectoryOf(files), at.path, 'volume');
    return entry;
  }
  if (at.boot === 'systemd') {
    requireNoLineBreak(at.path, pool);
    const unit = mountUnit({
      what: 'volume',
      source: tree,
      path: at.path,
      type: 'none',
      options: ['bind'],
      needs: pool,
    });
    const entry = putUnit(unitDirectoryOf(files), at.path, unit, dryRun);
    if (!dryRun) dropLine(fstabOf(files), at.path, isTreeOf(pool));
    return entry;
  }
  if (!dryRun) dropBootEntries(request);
  return undefined;
}

/** Takes out whatever mounts a tree of this pool there at boot. */
export function dropBootEntries({ at, pool, files }: Omit<BootRequest, 'tree'>): void {
  dropLine(fstabOf(files), at.path, isTreeOf(pool));
  const isOurs = mountUnits(unitDirectoryOf(files), 'volume').some(
    ({ what, where }) => where === at.path && isTreeOf(pool)(what),
  );
  if (isOurs) removeUnit(unitDirectoryOf(files), at.path, 'volume');
}

/** What is wrong with what mounts a tree at boot, in a form that follows its name; nothing where it is as it should be. */
export function bootProblem({ at, tree, files }: BootRequest): string | undefined {
  if (at.boot !== 'fstab' && at.boot !== 'systemd') return undefined;
  const [file, sources] =
    at.boot === 'fstab'
      ? [fstabOf(files), lines(fstabOf(files), at.path)]
      : [unitDirectoryOf(files), units(unitDirectoryOf(files), at.path)];
  if (sources.includes(tree)) return undefined;
  const [other] = sources;
  return other === undefined
    ? `is not mounted on ${at.path} at boot: ${file} says nothing of that`
    : `is not mounted on ${at.path} at boot: ${file} mounts ${other} there`;
}

function lines(file: string, path: string): string[] {
  return fstabLines(readIfAny(file) ?? '').flatMap(({ mountPoint, source }) =>
    mountPoint === path ? [source] : [],
  );
}

function units(directory: string, path: string): string[] {
  return mountUnits(directory, 'volume').flatMap(({ what, where }) => (where === path ? [what] : []));
}

/** Also under a name that the volume had before. */
export function isTreeOf(pool: string): (source: string) => boolean {
  return (source) =>
    source.startsWith(`${pool}/volumes/`) && /^[^/]+\/active$/.test(source.slice(`${pool}/volumes/`.length));
}
