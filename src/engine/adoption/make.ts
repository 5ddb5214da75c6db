import { fchmodSync, fchownSync, fstatSync } from 'node:fs';
import { flush } from '../../linux/files.ts';
import { isOpenForWriting } from '../../linux/leases.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { AdoptedFile, VolumeMetadata } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { beginWork, createDisk, fillDisk, shareDisk } from '../disk-work.ts';
import { abandon, publish } from '../publish.ts';
import { sealDisk } from '../seal-disk.ts';
import { readSourceImage, requireUnchanged } from '../source-image.ts';
import { timestamp } from '../timestamp.ts';
import { takingLocks } from '../waiting.ts';
import { identityOf, isSameFile, openOriginal } from './original.ts';
import type { PlannedDisk } from './plan.ts';

export interface MadeDisk {
  readonly id: string;
  readonly file: AdoptedFile;
}

/** Makes the volume or template of one file. It appears when it is complete, or never; the file stays as it is. */
export async function makeDisk(context: Context, disk: PlannedDisk, control: Control): Promise<MadeDisk> {
  const name = parseVolumeName(disk.name);
  const { entry, inUse } = disk;
  using source = openOriginal(entry);
  const image = readSourceImage(source.fd, entry.label, disk.image?.format, context.driver.info.sizeUnit);
  const file = identityOf(entry.file, source.fd, image.status);
  if (!inUse && !(disk.record && isSameFile(file, disk.record))) throw changed(entry.label);

  using work = await takingLocks(context, control, `adoption of ${name}`, (open) =>
    beginWork(open, 'adopt', name),
  );
  try {
    const id = randomId();
    {
      using target = createDisk(context, work, `adopt ${entry.label}`, image.bytes, id);
      if (disk.whyCopied === undefined) {
        flush(source.fd);
        shareDisk(source.fd, target.fd, image.bytes);
      } else {
        await fillDisk(context, image, target, control);
        flush(target.fd);
      }
      if (context.driver.info.sharesFiles === true) keepOwner(source.fd, target.fd);
    }
    if (!inUse) {
      requireUnchanged(image);
      if (isOpenForWriting(source.fd) === true) throw changed(entry.label);
    }
    control.signal?.throwIfAborted();
    const about = { id, kind: 'block', origin: [], method: 'import', adopted: file } as const;
    if (disk.type === 'template') {
      sealDisk(context, work, name, about);
      abandon(context, work);
    } else {
      const metadata: VolumeMetadata = { type: 'volume', created: timestamp(), ...about };
      context.driver.write(work, metadata);
      publish(context, work, name);
    }
    return { id, file };
  } catch (error) {
    abandon(context, work);
    throw error;
  }
}

/**
 * Whoever of its owner and group could use the file can use the disk. Others can't: every directory above a disk lets everybody
 * pass.
 */
function keepOwner(source: number, target: number): void {
  const { uid, gid, mode } = fstatSync(source);
  try {
    fchownSync(target, uid, gid);
  } catch (error) {
    if (!hasErrno(error, 'EPERM')) throw error; // somebody else's file, and we are not root: the disk is ours
    return;
  }
  fchmodSync(target, 0o600 | (mode & 0o060));
}

function changed(path: string): CoppiceError {
  return new CoppiceError(
    'invalid_image',
    `${path} was changed while it was adopted; adopt it again when nobody writes to it.`,
  );
}
