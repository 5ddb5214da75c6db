import { type Blocker, CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import { formatSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { type HeldVolume, holdVolume } from '../holding.ts';
import { takingLocks } from '../waiting.ts';
import type { PlannedDisk } from './plan.ts';

/** Why the volume that was made from a file earlier does not hold what is in it. */
export function volumeBlockers({ before, entry, image }: Omit<PlannedDisk, 'inUse'>): Blocker[] {
  const lack = before && image && whyTooSmall(before.name, before.bytes, image.imageBytes);
  if (lack === undefined) return [];
  return [
    {
      kind: 'source',
      what: `${entry.label} was adopted as ${before?.name}, but ${lack}`,
      remedy: 'keep the file, remove that volume or give it another name, and adopt the file again',
    },
  ];
}

/**
 * Holds the volume of a file that is about to be removed, so that it stays for as long.
 * @throws CoppiceError not_found, blocked when it is another, or can't hold what is in the file
 */
export async function holdVolumeOf(
  context: Context,
  { entry, image, name }: PlannedDisk,
  id: string,
  control: Control,
): Promise<HeldVolume> {
  const volume = await takingLocks(context, control, `removal of ${entry.label}`, (open) =>
    holdVolume(open, parseVolumeName(name), 'shared'),
  );
  try {
    const lack =
      volume.metadata.id === id
        ? whyTooSmall(name, context.driver.size(volume.held), image?.imageBytes ?? 0)
        : `${name} is another volume by now`;
    if (lack === undefined) return volume;
    throw new CoppiceError(
      'blocked',
      `${entry.label} was not removed: ${lack}; look at both, and adopt it again.`,
    );
  } catch (error) {
    volume[Symbol.dispose]();
    throw error;
  }
}

function whyTooSmall(name: string, bytes: number | undefined, needed: number): string | undefined {
  if (bytes === undefined) return `${name} has no disk any more`;
  if (bytes >= needed) return undefined;
  return `the disk of ${name} is smaller: ${formatSize(bytes)} instead of ${formatSize(needed)}`;
}
