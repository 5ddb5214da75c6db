import { fileSystemSpace } from '../linux/space.ts';
import { CoppiceError } from '../model/errors.ts';
import { formatSize } from '../model/sizes.ts';
import type { Context } from './context.ts';

const MiB = 2 ** 20;

/** What a pool can still take: its own free space, and that of the host under a loop file. Bytes. */
export interface PoolSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly host?: { readonly path: string; readonly freeBytes: number; readonly reserveBytes: number };
}

export function poolSpace(context: Context): PoolSpace {
  const { totalBytes, freeBytes } = context.driver.space();
  if (!context.host) return { totalBytes, freeBytes };
  const host = fileSystemSpace(context.host.fd);
  return {
    totalBytes,
    freeBytes,
    host: { path: context.host.path, freeBytes: host.freeBytes, reserveBytes: hostReserve(host.totalBytes) },
  };
}

/**
 * Refuses before it hurts. A sparse pool file may promise more than the host has, and a pool whose host is full turns read-only
 * and loses what was not written yet; so every change needs the host's reserve, and the bytes that it will write on top.
 * @throws CoppiceError no_space, with what is needed and what there is
 */
export function requireSpace(context: Context, action: string, bytes: number): void {
  let space = poolSpace(context);
  if (space.host && space.host.freeBytes < bytes + space.host.reserveBytes) {
    throw new CoppiceError(
      'no_space',
      `Could not ${action}: the file under the pool lies on ${space.host.path}, which has ${formatSize(space.host.freeBytes)} free, but ${formatSize(bytes + space.host.reserveBytes)} are needed (${formatSize(space.host.reserveBytes)} of them a reserve, because a full host turns the pool read-only); free space there.`,
      { neededBytes: bytes + space.host.reserveBytes, availableBytes: space.host.freeBytes },
    );
  }
  // What has just been removed may not be free yet; before refusing it is worth waiting for.
  if (space.freeBytes < bytes && context.driver.settle()) space = poolSpace(context);
  if (bytes > 0 && space.freeBytes < bytes) {
    throw new CoppiceError(
      'no_space',
      `Could not ${action}: it needs ${formatSize(bytes)}, but the pool has ${formatSize(space.freeBytes)} free; remove volumes or snapshots, or make it larger with "coppice pool grow SIZE".`,
      { neededBytes: bytes, availableBytes: space.freeBytes },
    );
  }
}

/** Two percent of the host's file system, but at least 64 MiB and at most 1 GiB. */
function hostReserve(totalBytes: number): number {
  return Math.min(1024 * MiB, Math.max(64 * MiB, Math.floor(totalBytes * 0.02)));
}
