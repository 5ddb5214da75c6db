import { constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { closingOnFailure, Descriptor } from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { CoppiceError } from '../../model/errors.ts';
import { sourceAt, withLine, withoutOurs } from './fstab.ts';
import { unitName } from './mount-unit.ts';
import { readIfAny, replaceFile } from './replace-file.ts';

/** What mounts something at boot: a line in an fstab, or a unit of systemd. */

export interface BootFiles {
  /** Where to write; for tests and for images of other systems. */
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export interface BootEntry {
  readonly file: string;
  /** The line or the unit. */
  readonly text: string;
  readonly changed: boolean;
}

export function fstabOf({ fstab = '/etc/fstab' }: BootFiles): string {
  return fstab;
}

export function unitDirectoryOf({ unitDirectory = '/etc/systemd/system' }: BootFiles): string {
  return unitDirectory;
}

export interface LineRequest {
  readonly file: string;
  readonly mountPoint: string;
  readonly text: string;
  /** Whether what a line mounts there is what this one does, perhaps by another name: such lines give way. */
  readonly isOurs: (source: string) => boolean;
  readonly dryRun: boolean;
}

/** Has an fstab mount something with this line alone. @throws CoppiceError already_exists when it mounts something else there */
export function putLine({ file, mountPoint, text, isOurs, dryRun }: LineRequest): BootEntry {
  using _turn = dryRun ? undefined : hostTurn('boot');
  const before = readIfAny(file) ?? '';
  const others = withoutOurs(before, mountPoint, isOurs);
  const stranger = sourceAt(others, mountPoint);
  if (stranger !== undefined) {
    throw new CoppiceError(
      'already_exists',
      `${file} mounts ${stranger} on ${mountPoint}, which is something else; take that line out first.`,
    );
  }
  const isThere = before.split('\n').includes(text) && before.length - others.length === text.length + 1;
  const after = isThere ? before : withLine(others, text);
  if (after !== before && !dryRun) replaceFile(file, after, 0o644);
  return { file, text, changed: after !== before };
}

/** Takes out the lines that mount something of ours on a directory. Returns whether there were any. */
export function dropLine(file: string, mountPoint: string, isOurs: (source: string) => boolean): boolean {
  const isThere = (text: string): boolean => withoutOurs(text, mountPoint, isOurs) !== text;
  if (!isThere(readIfAny(file) ?? '')) return false;
  using _turn = hostTurn('boot');
  const before = readIfAny(file) ?? '';
  if (isThere(before)) replaceFile(file, withoutOurs(before, mountPoint, isOurs), 0o644);
  return true;
}

/** Writes the unit that mounts something on a directory. */
export function putUnit(directory: string, mountPoint: string, text: string, dryRun: boolean): BootEntry {
  const file = join(directory, unitName(mountPoint));
  const changed = readIfAny(file) !== text;
  if (changed && !dryRun) replaceFile(file, text, 0o644);
  return { file, text, changed };
}

/** @throws CoppiceError unsupported for a text that a unit of systemd can't say */
export function requireNoLineBreak(...texts: readonly string[]): void {
  const broken = texts.find((text) => /[\n\r]/.test(text));
  if (broken === undefined) return;
  throw new CoppiceError(
    'unsupported',
    `${JSON.stringify(broken)} has a line break in it, which a unit of systemd can't say; leave out --systemd, or rename it.`,
  );
}

/**
 * Of two who change an fstab at the same time one would lose his line, and two could mount on one directory. The lock is on a file that
 * only its owner can open: any user could keep that of a file that everybody can read. Who is not root does neither.
 */
export function hostTurn(what: 'boot' | 'places'): Disposable | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const { O_RDONLY, O_CREAT, O_NOFOLLOW } = constants;
  const flags = O_RDONLY | O_CREAT | O_NOFOLLOW;
  const descriptor = new Descriptor(openSync(`/run/coppice-${what}.lock`, flags, 0o600));
  return closingOnFailure(descriptor, () => {
    lock(descriptor.fd, 'exclusive', true);
    return descriptor;
  });
}
