import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Descriptor, flush } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { mountOf } from '../../linux/mounts.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Backing, PoolMetadata } from '../../model/metadata.ts';
import { explaining } from '../failures.ts';
import { mountOptions } from './claim.ts';
import { openRoot } from './open.ts';

export interface PersistOptions {
  /** A systemd mount unit instead of a line in fstab. */
  readonly systemd?: boolean;
  readonly dryRun?: boolean;
  /** Where to write; for tests and for images of other systems. */
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export interface Persisted {
  readonly file: string;
  /** The line or the unit. */
  readonly text: string;
  readonly changed: boolean;
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
  using root = openRoot(pathText);
  const { path } = root;
  const source = sourceOf(root.metadata.backing, path);
  const mountWith = mountOptionsOf(root.metadata).join(',');
  const requiresMountsFor = `RequiresMountsFor=${path}`;
  if (options.systemd) {
    const file = join(options.unitDirectory ?? '/etc/systemd/system', unitName(path));
    const text = mountUnit(root.metadata, source, path);
    const changed = readIfAny(file) !== text;
    if (changed && !options.dryRun) replaceFile(file, text, 0o644);
    return { file, text, changed, requiresMountsFor };
  }
  const file = options.fstab ?? '/etc/fstab';
  const text = `${escapeField(source)} ${escapeField(path)} btrfs ${escapeField(mountWith)} 0 0`;
  const before = readIfAny(file) ?? '';
  const after = `${withoutMountPoint(before, path)}${text}\n`;
  if (after !== before && !options.dryRun) replaceFile(file, after, 0o644);
  return { file, text, changed: after !== before, requiresMountsFor };
}

/** Takes out what `persistPool` wrote. Returns the files that it changed. */
export function unpersistPool(path: string, options: PersistOptions): string[] {
  const changed: string[] = [];
  const fstab = options.fstab ?? '/etc/fstab';
  const before = readIfAny(fstab);
  if (before !== undefined && withoutMountPoint(before, path) !== before) {
    replaceFile(fstab, withoutMountPoint(before, path), 0o644);
    changed.push(fstab);
  }
  const unit = join(options.unitDirectory ?? '/etc/systemd/system', unitName(path));
  if (readIfAny(unit)?.includes(marker)) {
    unlinkSync(unit);
    changed.push(unit);
  }
  return changed;
}

const marker = 'Description=Coppice pool';

/** The file or device to mount; for an adopted directory that is itself a mount point there is none of ours. */
function sourceOf(backing: Backing, path: string): string {
  if (backing.type === 'loop') return backing.file;
  if (backing.type === 'device') return backing.device;
  const mount = mountOf(path);
  throw new CoppiceError(
    'unsupported',
    `The pool ${path} was adopted on a file system that is mounted by others (${mount?.source ?? 'unknown'} on ${mount?.mountPoint ?? 'unknown'}); make that mount permanent.`,
  );
}

function mountOptionsOf({ backing }: PoolMetadata): string[] {
  // The file may lie on a file system that is itself mounted at boot.
  const after = backing.type === 'loop' ? [`x-systemd.requires-mounts-for=${dirname(backing.file)}`] : [];
  return [...kernelOptionsOf(backing), 'nofail', ...after];
}

function kernelOptionsOf(backing: Backing): string[] {
  const loop = backing.type === 'loop' ? ['loop', ...(backing.preallocated ? ['nodiscard'] : [])] : [];
  return [...loop, ...mountOptions];
}

/** `nofail` and `x-systemd.*` are words of fstab: here not being required by local-fs.target, and a line of its own, mean the same. */
function mountUnit({ backing }: PoolMetadata, source: string, path: string): string {
  const after =
    backing.type === 'loop' ? `RequiresMountsFor=${dirname(backing.file).replaceAll('%', '%%')}\n` : '';
  return `[Unit]
${marker} ${path}
${after}
[Mount]
What=${source.replaceAll('%', '%%')}
Where=${path.replaceAll('%', '%%')}
Type=btrfs
Options=${kernelOptionsOf(backing).join(',')}

[Install]
WantedBy=multi-user.target
`;
}

/** systemd's escaping of a path: systemd.unit(5), "String escaping for inclusion in unit names". */
function unitName(path: string): string {
  const inner = path.replace(/^\/+|\/+$/g, '');
  const escaped = [...Buffer.from(inner)].map((byte, index) => {
    const character = String.fromCharCode(byte);
    if (character === '/') return '-';
    const plain = /[A-Za-z0-9:_]/.test(character) || (character === '.' && index > 0);
    return plain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return `${escaped.join('') || '-'}.mount`;
}

/** fstab without the lines for a mount point that Coppice could have written; everything else stays to the byte. */
function withoutMountPoint(fstab: string, path: string): string {
  const lines = fstab.split(/(?<=\n)/);
  const kept = lines.filter((line) => {
    const fields = line.trim().split(/\s+/);
    return line.trim().startsWith('#') || fields[1] !== escapeField(path) || fields[2] !== 'btrfs';
  });
  const text = kept.join('');
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

function escapeField(text: string): string {
  return text.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/** Replaces a file whole: a crash leaves the old one or the new one. Owner and mode stay. */
function replaceFile(file: string, text: string, mode: number): void {
  const temporary = join(dirname(file), `.${basename(file)}.coppice-new`);
  try {
    unlinkSync(temporary); // of a run that died
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
  const fd = openSync(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  );
  try {
    copyOwner(file, fd);
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, file);
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  flush(directory.fd);
}

function copyOwner(file: string, fd: number): void {
  try {
    const original = openSync(file, 'r');
    const { uid, gid, mode } = fstatSync(original);
    closeSync(original);
    fchownSync(fd, uid, gid);
    fchmodSync(fd, mode & 0o7777);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

function readIfAny(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
