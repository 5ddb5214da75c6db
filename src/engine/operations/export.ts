import { constants, fsyncSync, ftruncateSync, realpathSync, renameSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { ImageFormat } from '../../images/format.ts';
import { measureAsQcow2, noSpaceFor, writeQcow2 } from '../../images/qcow2.ts';
import { copySparse } from '../../images/raw.ts';
import { reflink } from '../../linux/extents.ts';
import { isRegularFile, statusIfAny } from '../../linux/file-status.ts';
import {
  createFileAt,
  createUnnamedAt,
  type Descriptor,
  descriptorPath,
  moveAt,
  nameAt,
  removeFileAt,
} from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { stageFrozen } from '../frozen.ts';
import { holdSource, requireDisk } from '../holding.ts';
import { type Confined, isWithin, openOnHost } from '../host-files.ts';
import { abandon } from '../publish.ts';
import { requireTargetSpace } from '../space.ts';
import { takingLocks } from '../waiting.ts';

export interface ExportOptions extends Confined {
  /** Raw when absent. */
  readonly format?: ImageFormat;
  /** Replace a file that is there. */
  readonly overwrite?: boolean;
}

export interface Exported {
  readonly source: string;
  readonly file: string;
  readonly format: ImageFormat;
  /** Bytes of the disk. */
  readonly bytes: number;
}

/**
 * Writes a volume, template or snapshot to a file outside the pool. The file appears when it is complete, or never. A volume in
 * use is exported as it was at one instant.
 */
export async function exportImage(
  context: Context,
  sourceText: string,
  fileText: string,
  options: ExportOptions,
  control: Control,
): Promise<Exported> {
  const file = resolve(fileText);
  const format = options.format ?? 'raw';
  using directory = openTargetDirectory(file, options);
  requireReplaceable(context, file, directory);
  using copy = await takingLocks(context, control, `export of ${sourceText}`, (open) =>
    frozenCopy(open, sourceText),
  );
  const temporary = `.${basename(file)}.${randomId()}.partial`;
  try {
    using source = context.driver.openDisk(copy, 'read');
    const unnamed = createUnnamedAt(directory.fd);
    using target = unnamed ?? createFileAt(directory.fd, temporary);
    const bytes = context.driver.size(copy);
    const progress = {
      onFraction: (fraction: number) => control.report({ step: 'copying', fraction }),
      signal: control.signal,
    };
    const need = (needed: number): void =>
      requireTargetSpace(context, `export ${sourceText}`, { fd: target.fd, path: dirname(file) }, needed);
    if (format === 'qcow2') {
      need(await measureAsQcow2(source.fd, sourceText, control.signal));
      await writeQcow2(source.fd, target.fd, file, progress.onFraction, control.signal);
    } else if (!shareBlocks(source.fd, target.fd, bytes)) {
      need(context.driver.usage(copy, 'cheap').referencedBytes);
      await copySparse(source.fd, target.fd, bytes, progress);
    }
    control.signal?.throwIfAborted();
    fsyncSync(target.fd);
    publishFile(directory, { unnamed, temporary }, file, options.overwrite ?? false);
    return { source: sourceText, file, format, bytes };
  } catch (error) {
    removeIfAny(directory, temporary);
    if (control.signal?.aborted)
      throw new CoppiceError(
        'cancelled',
        `The export of ${sourceText} was cancelled; nothing of it is left.`,
      );
    throw hasErrno(error, 'ENOSPC', 'EDQUOT') ? noSpaceFor(file, error) : error;
  } finally {
    abandon(context, copy);
  }
}

/** What is opened here stays the directory that is written to, whatever its name leads to later. */
function openTargetDirectory(file: string, confined: Confined): Descriptor {
  try {
    return openOnHost(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY, confined);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no directory ${dirname(file)} to export to.`);
    throw error;
  }
}

/** Only a regular file outside the pool is replaced: never a device, a link, a pipe, or the disk of a volume. */
function requireReplaceable(context: Context, file: string, { fd }: Descriptor): void {
  if (
    context.driver.info.isMounted &&
    isWithin(join(realpathSync(context.path), 'volumes'), realpathSync(descriptorPath(fd)))
  ) {
    throw new CoppiceError(
      'invalid_argument',
      `${file} lies in the pool itself; export to another directory, or use "coppice clone".`,
    );
  }
  const present = statusIfAny(fd, basename(file));
  if (!present || isRegularFile(present)) return;
  throw new CoppiceError(
    'invalid_argument',
    `${file} is not a regular file; export to a file, and write that to a device with a tool such as dd.`,
  );
}

/** A read-only copy of the source in a staged entry, which stays the same while it is read. */
function frozenCopy(context: Context, sourceText: string): ReturnType<Context['driver']['stage']> {
  using volume = holdSource(context, parseReference(sourceText));
  requireDisk(volume, `export ${sourceText}`, 'copy its files');
  return stageFrozen(context, volume.source, 'export');
}

/** Gives the target its size and, where both lie on one file system that can, all blocks of the source. */
function shareBlocks(source: number, target: number, bytes: number): boolean {
  ftruncateSync(target, bytes);
  try {
    reflink(source, target);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EXDEV', 'EINVAL', 'EOPNOTSUPP', 'ENOTTY')) return false;
    throw error;
  }
}

function publishFile(
  directory: Descriptor,
  { unnamed, temporary }: { readonly unnamed: Descriptor | undefined; readonly temporary: string },
  file: string,
  overwrite: boolean,
): void {
  const name = basename(file);
  if (overwrite) {
    // Only a name can take the place of a name.
    if (unnamed) nameAt(unnamed.fd, directory.fd, temporary);
    const within = descriptorPath(directory.fd);
    renameSync(join(within, temporary), join(within, name));
  } else {
    try {
      if (unnamed) nameAt(unnamed.fd, directory.fd, name);
      else moveAt(directory.fd, temporary, directory.fd, name);
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
      throw new CoppiceError(
        'already_exists',
        `${file} exists already; choose another name, or use --overwrite.`,
        { cause: error },
      );
    }
  }
  fsyncSync(directory.fd);
}

function removeIfAny({ fd }: Descriptor, temporary: string): void {
  try {
    removeFileAt(fd, temporary);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
