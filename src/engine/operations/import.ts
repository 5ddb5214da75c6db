import { constants, fstatSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Held } from '../../drivers/driver.ts';
import { detectFormat, type ImageFormat } from '../../images/format.ts';
import { checkQcow2, convertQcow2, readQcow2Header } from '../../images/qcow2.ts';
import { copySparse, hashFile } from '../../images/raw.ts';
import { reflink } from '../../linux/extents.ts';
import { Descriptor, resizeFile } from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import { roundSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { explaining } from '../failures.ts';
import { busy, findWork } from '../holding.ts';
import { abandon, requireFree } from '../publish.ts';
import { requireSpace } from '../space.ts';
import { takingLocks } from '../waiting.ts';
import { type Sealed, sealDisk } from './seal.ts';

export interface ImportOptions {
  /** Told from the file's first bytes when absent. */
  readonly format?: ImageFormat;
  /** What the SHA-256 of the source file must be, in hex. */
  readonly sha256?: string;
}

export interface Imported extends Sealed {
  readonly format: ImageFormat;
  /** The size of the image, where it had to be rounded up. */
  readonly roundedFrom?: number;
  /** Whether the blocks are shared with the source, because that lies on the same file system. */
  readonly shared: boolean;
  /** How many snapshots a qcow2 image has inside, which were not imported: only its present state is. */
  readonly snapshotsLeftOut?: number;
}

/**
 * Makes a template from a disk image. The name appears when the template is complete, or never. Two imports of one name at once
 * do the work once: the second waits, and finds the name taken.
 */
export async function importImage(
  context: Context,
  nameText: string,
  sourcePath: string,
  options: ImportOptions,
  control: Control,
): Promise<Imported> {
  const name = parseVolumeName(nameText);
  if (options.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(options.sha256)) {
    throw new CoppiceError('invalid_argument', 'A SHA-256 is 64 hexadecimal digits.');
  }
  using source = openSource(sourcePath);
  const before = fstatSync(source.fd, { bigint: true });
  const format = detectFormat(source.fd, sourcePath, options.format);
  const { bytes: imageBytes, snapshots } =
    format === 'qcow2'
      ? readQcow2Header(source.fd, sourcePath)
      : { bytes: Number(before.size), snapshots: 0 };
  if (imageBytes === 0)
    throw new CoppiceError('invalid_image', `${sourcePath} is empty; an image has at least one byte.`);
  const bytes = roundSize(imageBytes);
  requireFree(context, name);

  using work = await takingLocks(context, control, `import of ${name}`, (open) => beginWork(open, name));
  try {
    const id = randomId();
    explaining(`import ${name}`, () => context.driver.create(work, bytes, id));
    using target = new Descriptor(
      openSync(context.driver.path(work), constants.O_RDWR | constants.O_NOFOLLOW),
    );
    const fraction = (step: string) => (value: number) => control.report({ step, fraction: value });
    if (options.sha256 !== undefined) {
      const progress = { onFraction: fraction('checking'), signal: control.signal };
      const actual = await hashFile(source.fd, Number(before.size), progress);
      if (actual !== options.sha256.toLowerCase()) {
        throw new CoppiceError(
          'checksum_mismatch',
          `The SHA-256 of ${sourcePath} is ${actual}, not ${options.sha256.toLowerCase()}; fetch it again.`,
        );
      }
    }
    const shared = format === 'raw' && tryReflink(source.fd, target.fd, bytes);
    if (!shared) {
      const dataBytes =
        format === 'qcow2'
          ? await checkQcow2(source.fd, sourcePath, imageBytes, control.signal)
          : Number(before.blocks) * 512;
      requireSpace(context, `import ${sourcePath}`, dataBytes);
      const progress = { onFraction: fraction('copying'), signal: control.signal };
      if (format === 'raw') await copySparse(source.fd, target.fd, imageBytes, progress);
      else await convertQcow2(source.fd, target.fd, sourcePath, progress.onFraction, control.signal);
    }
    requireUnchanged(source.fd, before, sourcePath);
    control.signal?.throwIfAborted();
    control.report({ step: 'sealing', fraction: 0.99 });
    const sealed = sealDisk(context, work, name, { id, origin: [], method: 'import' });
    context.driver.discard(work);
    return {
      ...sealed,
      format,
      shared,
      ...(bytes !== imageBytes && { roundedFrom: imageBytes }),
      ...(snapshots > 0 && { snapshotsLeftOut: snapshots }),
    };
  } catch (error) {
    abandon(context, work);
    if (control.signal?.aborted)
      throw new CoppiceError('cancelled', `The import of ${name} was cancelled; nothing of it is left.`);
    throw error;
  }
}

/** Only one import of a name at a time: the check and the announcement are one step under the pool's lock. */
function beginWork(context: Context, name: ReturnType<typeof parseVolumeName>): Held {
  const pool = context.driver.hold({ area: 'pool' }, 'exclusive', context.wait);
  if (typeof pool === 'string') throw busy('the pool');
  using _lock = pool;
  requireFree(context, name);
  if (findWork(context, name)) throw busy(name);
  return announce(context, name);
}

function announce(context: Context, name: string): Held {
  const work = context.driver.stage();
  try {
    context.driver.write(work, { type: 'work', action: 'import', volume: name });
    return work;
  } catch (error) {
    abandon(context, work);
    work[Symbol.dispose]();
    throw error;
  }
}

function openSource(path: string): Descriptor {
  let descriptor: Descriptor;
  try {
    // Not blocking: a pipe put in the place of an image must not hang us.
    descriptor = new Descriptor(openSync(resolve(path), constants.O_RDONLY | constants.O_NONBLOCK));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no file ${path}.`, { cause: error });
    if (hasErrno(error, 'EACCES', 'EPERM', 'ENXIO')) {
      throw new CoppiceError('permission_denied', `${path} can't be read; check its owner and mode.`, {
        cause: error,
      });
    }
    throw error;
  }
  if (fstatSync(descriptor.fd).isFile()) return descriptor;
  descriptor[Symbol.dispose]();
  throw new CoppiceError('invalid_image', `${path} is not a regular file; give the path of a disk image.`);
}

/** Shares the blocks of a source on the same file system. The last block of an odd-sized source can only be shared into an empty file. */
function tryReflink(source: number, target: number, bytes: number): boolean {
  try {
    resizeFile(target, 0);
    reflink(source, target);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EXDEV', 'EINVAL', 'EOPNOTSUPP', 'ENOTTY')) return false;
    throw error;
  } finally {
    resizeFile(target, bytes);
  }
}

/** The time of the last change of the file's own record can't be set back, as that of its data can. */
function requireUnchanged(fd: number, before: { size: bigint; ctimeNs: bigint }, path: string): void {
  const after = fstatSync(fd, { bigint: true });
  if (after.size === before.size && after.ctimeNs === before.ctimeNs) return;
  throw new CoppiceError(
    'invalid_image',
    `${path} was changed while it was imported; import it again when nobody writes to it.`,
  );
}
