import type { Held } from '../drivers/driver.ts';
import { checkQcow2, convertQcow2 } from '../images/qcow2.ts';
import { copySparse } from '../images/raw.ts';
import { reflink } from '../linux/extents.ts';
import { type Descriptor, resizeFile } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import type { Control } from './control.ts';
import { busy, explaining } from './failures.ts';
import { findWork } from './holding.ts';
import { holdPool } from './pool-lock.ts';
import { abandon, requireFree } from './publish.ts';
import type { SourceImage } from './source-image.ts';
import { requireSpace } from './space.ts';

/**
 * Announces that a name is being made, in a staged entry to make it in. Only one piece of work on a name at a time: the check and
 * the announcement are one step under the pool's lock.
 * @throws CoppiceError already_exists, busy
 */
export function beginWork(context: Context, action: string, name: Name): Held {
  using _lock = holdPool(context, 'exclusive');
  requireFree(context, name);
  if (findWork(context, name)) throw busy(name);
  return announceWork(context, action, name);
}

/** An entry that says what its process is doing: others find it as long as that lives. */
export function announceWork(context: Context, action: string, name: string): Held {
  const work = context.driver.stage();
  try {
    context.driver.write(work, { type: 'work', action, volume: name });
    return work;
  } catch (error) {
    abandon(context, work);
    work[Symbol.dispose]();
    throw error;
  }
}

/** Makes an empty disk in a staged entry, and opens it. */
export function createDisk(
  context: Context,
  work: Held,
  action: string,
  bytes: number,
  id: string,
): Descriptor {
  explaining(action, () => context.driver.create(work, bytes, id));
  return context.driver.openDisk(work, 'write');
}

/** Fills an empty disk with an image: by sharing its blocks where that can be. Returns whether it was. */
export async function fillDisk(
  context: Context,
  image: SourceImage,
  target: Descriptor,
  control: Control,
): Promise<boolean> {
  const { sharesFiles } = context.driver.info;
  if (image.format === 'raw' && sharesFiles === true && tryReflink(image.fd, target.fd, image.bytes))
    return true;
  const dataBytes =
    image.format === 'qcow2'
      ? await checkQcow2(image.fd, image.path, image.imageBytes, control.signal)
      : Number(image.status.blocks) * 512;
  requireSpace(context, `import ${image.path}`, dataBytes);
  const progress = {
    onFraction: (fraction: number) => control.report({ step: 'copying', fraction }),
    signal: control.signal,
  };
  if (image.format === 'raw') await copySparse(image.fd, target.fd, image.imageBytes, progress);
  else await convertQcow2(image.fd, target.fd, image.path, progress.onFraction, control.signal);
  return false;
}

function tryReflink(source: number, target: number, bytes: number): boolean {
  try {
    shareDisk(source, target, bytes);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EXDEV', 'EINVAL', 'EOPNOTSUPP', 'ENOTTY')) return false;
    throw error;
  }
}

/**
 * Has an empty disk share all blocks of a raw image. The last block of an odd-sized source can only be shared into an empty file.
 * @throws SystemError EXDEV, EINVAL, EOPNOTSUPP, ENOTTY when it can't; the disk is empty then as before
 */
export function shareDisk(source: number, target: number, bytes: number): void {
  try {
    resizeFile(target, 0);
    reflink(source, target);
  } finally {
    resizeFile(target, bytes);
  }
}
