import { type LoopFileState, presentFile } from '../../linux/loops.ts';
import { mountOf } from '../../linux/mounts.ts';
import type { Backing } from '../../model/metadata.ts';

/**
 * What a mounted pool lies on now. The marker only knows what was true when the pool was made: since then the file may have been
 * moved, and a boot may have given the device's name to a stranger's disk.
 */
export interface Beneath {
  /** The device that is mounted, as it is called now. */
  readonly device: string;
  readonly mountPoint: string;
  /** The file under it, when it is a loop device. */
  readonly file?: { readonly path: string; readonly state: LoopFileState };
}

export function lookBeneath(path: string): Beneath | undefined {
  const mount = mountOf(path);
  if (!mount) return undefined;
  const file = presentFile(mount.source);
  return { device: mount.source, mountPoint: mount.mountPoint, ...(file && { file }) };
}

/** The backing of a pool with the names of today. */
export function presentBacking(path: string, recorded: Backing): Backing {
  if (recorded.type === 'existing' || recorded.type === 'zpool') return recorded;
  const beneath = lookBeneath(path);
  if (!beneath) return recorded;
  if (recorded.type === 'device') return { type: 'device', device: beneath.device };
  return beneath.file ? { ...recorded, file: beneath.file.path } : { type: 'device', device: beneath.device }; // somebody has copied the file to a disk
}

/** The file under a loop device, else the device. */
export function presentSource(device: string): string {
  return presentFile(device)?.path ?? device;
}
