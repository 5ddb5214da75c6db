import type { ImageFormat } from '../../images/format.ts';
import { hashFile } from '../../images/raw.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { beginWork, createDisk, fillDisk } from '../disk-work.ts';
import type { Confined } from '../host-files.ts';
import { abandon, requireFree } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { type Sealed, sealDisk } from '../seal-disk.ts';
import { openSource, readSourceImage, requireUnchanged, type SourceImage } from '../source-image.ts';
import { takingLocks } from '../waiting.ts';

export interface ImportOptions extends Marked, Confined {
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
  const mark = requestMark(options);
  if (options.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(options.sha256)) {
    throw new CoppiceError('invalid_argument', 'A SHA-256 is 64 hexadecimal digits.');
  }
  using source = openSource(sourcePath, options);
  const image = readSourceImage(source.fd, sourcePath, options.format, context.driver.info.sizeUnit);
  const { format, bytes, imageBytes, snapshots } = image;
  requireFree(context, name);

  using work = await takingLocks(context, control, `import of ${name}`, (open) =>
    beginWork(open, 'import', name),
  );
  const id = randomId();
  // Closed again before it is sealed: what somebody has open can't be cleared away on every kind of pool.
  const fill = async (): Promise<boolean> => {
    using target = createDisk(context, work, `import ${name}`, bytes, id);
    if (options.sha256 !== undefined) await requireDigest(image, options.sha256.toLowerCase(), control);
    return await fillDisk(context, image, target, control);
  };
  try {
    const shared = await fill();
    requireUnchanged(image);
    control.signal?.throwIfAborted();
    control.report({ step: 'sealing', fraction: 0.99 });
    const about = { id, kind: 'block', origin: [], method: 'import', ...mark } as const;
    const sealed = sealDisk(context, work, name, about);
    // The template is there: that its work can't be cleared away yet is no failure.
    abandon(context, work);
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

async function requireDigest(
  { fd, path, status }: SourceImage,
  wanted: string,
  control: Control,
): Promise<void> {
  const actual = await hashFile(fd, Number(status.size), {
    onFraction: (fraction) => control.report({ step: 'checking', fraction }),
    signal: control.signal,
  });
  if (actual === wanted) return;
  throw new CoppiceError(
    'checksum_mismatch',
    `The SHA-256 of ${path} is ${actual}, not ${wanted}; fetch it again.`,
  );
}
