import { dirname } from 'node:path';
import type { Backend } from '../../drivers/backend.ts';
import { isSame } from '../../linux/same-file.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Backing, PoolMetadata } from '../../model/metadata.ts';
import { explaining } from '../failures.ts';
import { type Beneath, lookBeneath, presentBacking } from './beneath.ts';
import {
  type BootEntry,
  type BootFiles,
  dropLine,
  fstabOf,
  putLine,
  putUnit,
  requireNoLineBreak,
  unitDirectoryOf,
} from './boot-entry.ts';
import { mountOptions } from './claim.ts';
import { fstabLine, requiresMountsOption } from './fstab.ts';
import { mountUnit, removeUnit, requiresMountsFor } from './mount-unit.ts';
import { openRoot, requireDirectoryPool } from './open.ts';

export interface PersistOptions extends BootFiles {
  /** A systemd mount unit instead of a line in fstab. */
  readonly systemd?: boolean;
  readonly dryRun?: boolean;
}

export interface Persisted extends BootEntry {
  /** What a service's unit needs, so that it starts only when the pool is mounted. */
  readonly requiresMountsFor: string;
}

/**
 * Has the pool mounted at every boot. With `nofail`, so that a missing pool does not stop the boot: services that need the pool
 * say so themselves (`RequiresMountsFor`), and Coppice refuses to write to a directory that is not the mounted pool.
 */
export function persistPool(pathText: string, options: PersistOptions): Persisted {
  return explaining(`make the mount of ${pathText} permanent`, () => persist(pathText, options));
}

function persist(pathText: string, options: PersistOptions): Persisted {
  requireDirectoryPool(pathText, 'persist');
  using root = openRoot(pathText);
  const { path, metadata } = root;
  const type = root.backend.name;
  const beneath = lookBeneath(path);
  const backing = presentBacking(path, metadata.backing);
  const needs = requiresMountsFor(path);
  if (options.systemd) {
    const source = sourceOf(path, backing, beneath, `/dev/disk/by-uuid/${metadata.filesystem}`);
    requireNoLineBreak(path, source);
    const text = mountUnit({
      what: 'pool',
      source,
      path,
      type,
      options: mountOptions(backing, root.backend),
      ...(backing.type === 'loop' && { needs: dirname(source) }),
    });
    const entry = putUnit(unitDirectoryOf(options), path, text, options.dryRun ?? false);
    return { ...entry, requiresMountsFor: needs };
  }
  const source = sourceOf(path, backing, beneath, `UUID=${metadata.filesystem}`);
  const text = fstabLine({ source, mountPoint: path, type }, fstabOptionsOf(backing, root.backend));
  const entry = putLine({
    file: fstabOf(options),
    mountPoint: path,
    text,
    isOurs: (name) => isOurs(name, metadata, beneath),
    dryRun: options.dryRun ?? false,
  });
  return { ...entry, requiresMountsFor: needs };
}

/** Takes out what `persistPool` wrote for a pool that lay on this. Returns the files that it changed. */
export function unpersistPool(
  path: string,
  metadata: PoolMetadata,
  beneath: Beneath,
  options: PersistOptions,
): string[] {
  const fstab = fstabOf(options);
  const changed = dropLine(fstab, path, (name) => isOurs(name, metadata, beneath)) ? [fstab] : [];
  return [...changed, ...removeUnit(unitDirectoryOf(options), path, 'pool')];
}

/** Whether an fstab means this pool's file system by a name, also by one that an earlier version wrote. */
function isOurs(source: string, { backing, filesystem }: PoolMetadata, beneath?: Beneath): boolean {
  if (backing.type !== 'loop' && backing.type !== 'device') return false;
  if (source.toLowerCase() === `uuid=${filesystem}` || source === `/dev/disk/by-uuid/${filesystem}`)
    return true;
  const recorded = backing.type === 'loop' ? backing.file : backing.device;
  if (source === recorded) return true;
  return beneath !== undefined && isSame(source, beneath.file?.path ?? beneath.device);
}

/** What to mount: a file by its name, a device by the id of its file system, because its name may change with every boot. */
function sourceOf(path: string, backing: Backing, beneath: Beneath | undefined, byId: string): string {
  if (backing.type !== 'loop' && backing.type !== 'device') {
    throw new CoppiceError(
      'unsupported',
      `The pool ${path} was adopted on a file system that is mounted by others (${beneath?.device ?? 'unknown'} on ${beneath?.mountPoint ?? 'unknown'}); make that mount permanent.`,
    );
  }
  if (backing.type === 'device') return byId;
  if (beneath?.file?.state === 'there') return backing.file;
  throw new CoppiceError(
    'damaged',
    beneath?.file?.state === 'deleted'
      ? `The file under ${path} has been deleted and lives only as long as it is mounted; copy the volumes out with "coppice export".`
      : `The file under ${path} should be ${backing.file}, but is not found there; unmount the pool, and mount it from where its file can be seen.`,
  );
}

function fstabOptionsOf(backing: Backing, backend: Backend): string[] {
  const options = [...mountOptions(backing, backend), 'nofail'];
  if (backing.type !== 'loop') return options;
  // The file may lie on a file system that is itself mounted at boot. A directory that would break the list of options can't be
  // said in it; systemd finds most such mounts by the name of the file.
  return [...options, ...requiresMountsOption(dirname(backing.file))];
}
