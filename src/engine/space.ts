import { statusAt } from '../linux/file-status.ts';
import { fileSystemSpace } from '../linux/space.ts';
import { CoppiceError } from '../model/errors.ts';
import { formatSize } from '../model/sizes.ts';
import type { Context } from './context.ts';

const MiB = 2 ** 20;

/** Bytes that a database server may write when it is started on a copy: some segments of WAL, and what it has in memory. */
export const roomForServer: number = 128 * MiB;

/** What a pool can still take: its own free space, and that of the host under a loop file. Bytes. */
export interface PoolSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** How many times larger the data would be without compression; absent where the storage doesn't tell. */
  readonly compressRatio?: number;
  readonly host?: { readonly path: string; readonly freeBytes: number; readonly reserveBytes: number };
}

export function poolSpace(context: Context): PoolSpace {
  const host = hostSpace(context);
  return { ...context.driver.space(), ...(host && { host }) };
}

/**
 * Refuses before it hurts. A sparse pool file may promise more than the host has, and a pool whose host is full turns read-only
 * and loses what was not written yet; so every change needs the host's reserve, and the bytes that it will write on top.
 * @throws CoppiceError no_space, with what is needed and what there is
 */
export function requireSpace(context: Context, action: string, bytes: number): void {
  const host = hostSpace(context);
  if (host && host.freeBytes < bytes + host.reserveBytes) {
    throw new CoppiceError(
      'no_space',
      `Could not ${action}: the file under the pool lies on ${host.path}, which has ${formatSize(host.freeBytes)} free, but ${formatSize(bytes + host.reserveBytes)} are needed (${formatSize(host.reserveBytes)} of them a reserve, because a full host turns the pool read-only); free space there.`,
      { neededBytes: bytes + host.reserveBytes, availableBytes: host.freeBytes },
    );
  }
  if (bytes === 0) return;
  let { freeBytes } = context.driver.space();
  // What has just been removed may not be free yet; before refusing it is worth waiting for.
  if (freeBytes < bytes && context.driver.settle()) freeBytes = context.driver.space().freeBytes;
  if (freeBytes >= bytes) return;
  throw new CoppiceError(
    'no_space',
    `Could not ${action}: it needs ${formatSize(bytes)}, but the pool has ${formatSize(freeBytes)} free; remove volumes or snapshots, or make it larger with "coppice pool grow SIZE".`,
    { neededBytes: bytes, availableBytes: freeBytes },
  );
}

/**
 * The same for what is written outside the pool. Where that is the file system under a sparse pool, its reserve has to stay.
 * @param target an open file, and the directory to name
 * @throws CoppiceError no_space, with what is needed and what there is
 */
export function requireTargetSpace(
  context: Context,
  action: string,
  target: { readonly fd: number; readonly path: string },
  bytes: number,
): void {
  const host = hostSpace(context);
  const isHost =
    host && context.host && statusAt(target.fd, '').device === statusAt(context.host.fd, '').device;
  const reserveBytes = isHost ? host.reserveBytes : 0;
  const neededBytes = bytes + reserveBytes;
  const { freeBytes } = fileSystemSpace(target.fd);
  if (freeBytes >= neededBytes) return;
  const reserve = isHost
    ? ` (${formatSize(reserveBytes)} of them a reserve, because the pool lies there too, and a full host turns it read-only)`
    : '';
  throw new CoppiceError(
    'no_space',
    `Could not ${action}: ${target.path} has ${formatSize(freeBytes)} free, but ${formatSize(neededBytes)} are needed${reserve}; free space there, or export to another directory.`,
    { neededBytes, availableBytes: freeBytes },
  );
}

function hostSpace(context: Context): PoolSpace['host'] {
  const { backing } = context.metadata;
  // A preallocated file has its blocks already: a full host does it no harm.
  if (!context.host || (backing.type === 'loop' && backing.preallocated)) return undefined;
  const { freeBytes, totalBytes } = fileSystemSpace(context.host.fd);
  return { path: context.host.path, freeBytes, reserveBytes: hostReserve(totalBytes) };
}

/** Two percent of the host's file system, but at least 64 MiB and at most 1 GiB. */
function hostReserve(totalBytes: number): number {
  return Math.min(1024 * MiB, Math.max(64 * MiB, Math.floor(totalBytes * 0.02)));
}
