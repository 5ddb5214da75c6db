import { realpathSync, statfsSync } from 'node:fs';
import { goPastPageCache, isPastPageCache, mergeRequests, presentFile } from '../../linux/loops.ts';
import { mountOf } from '../../linux/mounts.ts';
import { xfsMagic } from '../../linux/xfs.ts';

const ext4Magic = 0xef53;

/**
 * Makes the loop device under a pool fast. When the pool was just mounted, nothing has to be written for that; later the kernel first
 * writes what it has of the file in its page cache, so this is not done by every opening.
 *
 * Not on hosts that copy on write themselves: there direct I/O can spoil checksums (a file system above may change a page while it
 * is written; btrfs does without direct I/O for that reason from kernel 6.15 on) and breaks the file into pieces.
 * @returns what was done, for who has not just mounted it
 */
export function speedUp(path: string): string[] {
  const device = improvable(path);
  if (device === undefined) return [];
  const wasCaching = !isPastPageCache(device);
  for (const improve of [mergeRequests, goPastPageCache]) {
    try {
      improve(device);
    } catch {
      // It works without: in a container, or where the host's blocks are larger.
    }
  }
  return wasCaching && isPastPageCache(device) ? [`set ${device} to direct I/O`] : [];
}

/** The loop device under a pool that keeps everything in the page cache, too, and need not; undefined when there is none. */
export function cachingLoop(path: string): string | undefined {
  const device = improvable(path);
  return device === undefined || isPastPageCache(device) ? undefined : device;
}

function improvable(path: string): string | undefined {
  const mount = mountOf(path);
  const file = mount?.mountPoint === realpathSync(path) ? presentFile(mount.source) : undefined;
  if (!mount || file?.state !== 'there') return undefined;
  const { type } = statfsSync(file.path);
  return type === ext4Magic || type === xfsMagic ? mount.source : undefined;
}
