import { fstatSync } from 'node:fs';
import type { Held } from '../../drivers/driver.ts';
import { refreshLoopDevices } from '../../linux/loops.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import { holdVolume, requireDisk, requireUnsealed } from '../holding.ts';
import { requireSpace } from '../space.ts';

export interface Grown {
  readonly name: string;
  readonly bytes: number;
  readonly previousBytes: number;
  readonly roundedFrom?: number;
  /** Whether someone has the disk open: the hypervisor must then be told, and the guest must grow its partition and file system. */
  readonly inUse: boolean;
  /** Loop devices on the disk, which have its size now. */
  readonly loopDevices: readonly string[];
}

/** Makes a volume larger. Also while it is in use. It is never made smaller. */
export function grow(context: Context, nameText: string, options: { readonly bytes: number }): Grown {
  const name = parseVolumeName(nameText);
  const asked = checkSize(options.bytes);
  requireSpace(context, `grow ${name}`, 0);
  using volume = holdVolume(context, name, 'exclusive');
  requireUnsealed(volume, `grow ${name}`);
  requireDisk(volume, `grow ${name}`, 'it has all the room of its pool');
  const bytes = roundSize(asked, context.driver.sizeUnitOf?.(volume.held) ?? context.driver.info.sizeUnit);
  const previousBytes = context.driver.size(volume.held);
  if (bytes < previousBytes) {
    throw new CoppiceError(
      'invalid_argument',
      `A volume is never made smaller: ${name} has ${formatSize(previousBytes)}, and ${formatSize(bytes)} would cut off its end.`,
    );
  }
  if (bytes > previousBytes) context.driver.grow(volume.held, bytes);
  // Also when it had the size before: whoever made it larger may not have come to this.
  const loopDevices = refreshLoops(context, volume.held);
  const inUse = context.driver.holders([volume.held]).holders.length > 0;
  return {
    name,
    bytes,
    previousBytes,
    inUse,
    loopDevices,
    ...(bytes !== options.bytes && { roundedFrom: options.bytes }),
  };
}

function refreshLoops(context: Context, held: Held): readonly string[] {
  using disk = context.driver.openDisk(held, 'read');
  const { dev: device, ino: inode } = fstatSync(disk.fd, { bigint: true });
  return refreshLoopDevices({ device, inode });
}
