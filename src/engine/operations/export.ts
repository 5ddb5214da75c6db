import {
  constants,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { ImageFormat } from '../../images/format.ts';
import { measureAsQcow2, noSpaceFor, writeQcow2 } from '../../images/qcow2.ts';
import { copySparse } from '../../images/raw.ts';
import { reflink } from '../../linux/extents.ts';
import { Descriptor, moveAt } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdSource, requireDisk } from '../holding.ts';
import { abandon } from '../publish.ts';
import { requireTargetSpace } from '../space.ts';
import { takingLocks } from '../waiting.ts';

export interface ExportOptions {
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
  requireReplaceable(context, file);
  using copy = await takingLocks(context, control, `export of ${sourceText}`, (open) =>
    frozenCopy(open, sourceText),
  );
  const temporary = join(dirname(file), `.${basename(file)}.${randomId()}.partial`);
  try {
    using source = context.driver.openDisk(copy, 'read');
    using target = openTarget(temporary, file);
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
    publishFile(temporary, file, options.overwrite ?? false);
    return { source: sourceText, file, format, bytes };
  } catch (error) {
    removeIfAny(temporary);
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

/** Only a regular file outside the pool is replaced: never a device, a link, a pipe, or the disk of a volume. */
function requireReplaceable(context: Context, file: string): void {
  const directory = lstatSync(dirname(file), { throwIfNoEntry: false }) && realpathSync(dirname(file));
  const { isMounted } = context.driver.info;
  if (
    directory !== undefined &&
    isMounted &&
    `${directory}/`.startsWith(`${realpathSync(context.path)}/volumes/`)
  ) {
    throw new CoppiceError(
      'invalid_argument',
      `${file} lies in the pool itself; export to another directory, or use "coppice clone".`,
    );
  }
  const present = lstatSync(file, { throwIfNoEntry: false });
  if (!present || present.isFile()) return;
  throw new CoppiceError(
    'invalid_argument',
    `${file} is not a regular file; export to a file, and write that to a device with a tool such as dd.`,
  );
}

/** A read-only copy of the source in a staged entry, which stays the same while it is read. */
function frozenCopy(context: Context, sourceText: string): ReturnType<Context['driver']['stage']> {
  using volume = holdSource(context, parseReference(sourceText));
  requireDisk(volume, `export ${sourceText}`, 'copy its files');
  context.driver.writeOut(volume.source);
  const copy = context.driver.stage();
  try {
    context.driver.write(copy, { type: 'work', action: 'export', volume: `export-${randomId()}` });
    context.driver.snapshot(volume.source, copy);
    return copy;
  } catch (error) {
    abandon(context, copy);
    copy[Symbol.dispose]();
    throw error;
  }
}

function openTarget(temporary: string, file: string): Descriptor {
  try {
    return new Descriptor(
      openSync(
        temporary,
        constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      ),
    );
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no directory ${dirname(file)} to export to.`);
    throw error;
  }
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

function publishFile(temporary: string, file: string, overwrite: boolean): void {
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  if (overwrite) renameSync(temporary, file);
  else {
    try {
      moveAt(directory.fd, basename(temporary), directory.fd, basename(file));
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

function removeIfAny(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
