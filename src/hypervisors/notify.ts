import { constants, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Descriptor } from '../linux/files.ts';
import { lock } from '../linux/locks.ts';
import { checkTimeout, timeLimit } from '../linux/time-limit.ts';
import { requireOwn } from '../linux/trusted-path.ts';
import { requireTrustedSocket } from '../linux/unix-socket.ts';
import { CoppiceError } from '../model/errors.ts';
import { formatSize } from '../model/sizes.ts';
import { resizeInCloudHypervisor } from './cloud-hypervisor.ts';
import { resizeInFirecracker } from './firecracker.ts';
import { guestSteps } from './guest-steps.ts';
import { runHook } from './hook.ts';
import { resizeInQemu } from './qmp.ts';
import { checkHypervisorTarget, type HypervisorTarget } from './target.ts';

/** A disk that has grown. */
export interface GrownDisk {
  /** The volume. */
  readonly name: string;
  /** What the hypervisor has open. */
  readonly path: string;
  readonly bytes: number;
  readonly previousBytes: number;
}

export interface NotifyOptions {
  /** For all of it; 10,000 when absent. */
  readonly timeoutMilliseconds?: number;
  readonly signal?: AbortSignal;
}

/** What a hypervisor was told, and what is left to do. */
export interface Notified {
  readonly kind: HypervisorTarget['kind'];
  /** Who was told what, as a person reads it. */
  readonly told: string;
  /** The size that it was told. More than was asked for when the disk has grown again meanwhile. */
  readonly bytes: number;
  /** The size that it says the disk has now; absent where it doesn't tell. */
  readonly reportedBytes?: number;
  /** What has to be done in the guest, in this order. */
  readonly guestSteps: readonly string[];
}

/** What one kind of hypervisor answers. */
export type Told = Pick<Notified, 'told' | 'reportedBytes'>;

/**
 * Tells a hypervisor that the disk of a running machine has grown. It may be told again at any time. A disk is never made smaller by it.
 * @throws CoppiceError whose sentence says that the disk has grown, and why nobody was told: io_error when the hypervisor doesn't
 * answer or refuses; invalid_argument when its socket is not safe or it has another disk there; not_found; permission_denied; cancelled
 */
export async function notifyHypervisor(
  target: HypervisorTarget,
  disk: GrownDisk,
  options: NotifyOptions = {},
): Promise<Notified> {
  const checked = checkHypervisorTarget(target);
  const timeout = checkTimeout(options.timeoutMilliseconds ?? 10_000);
  try {
    using limit = timeLimit(timeout, `It gave no answer in ${timeout / 1000} s.`, options.signal);
    using guard = await holdSize(disk, limit.signal);
    const told = await tell(checked, { ...disk, bytes: guard.bytes }, limit.signal);
    return { kind: checked.kind, ...told, bytes: guard.bytes, guestSteps: guestSteps(checked.kind) };
  } catch (error) {
    throw explain(disk, error);
  }
}

/**
 * Looks, before anything is changed, whether a target can be meant and is safe to talk to.
 * @throws CoppiceError as `notifyHypervisor`
 */
export function requireSafeTarget(target: HypervisorTarget): void {
  if (target.kind === 'hook') requireOwn(target.command[0] ?? '', 'the hook');
  else requireTrustedSocket(target.socket);
}

function tell(target: HypervisorTarget, disk: GrownDisk, signal: AbortSignal): Promise<Told> {
  switch (target.kind) {
    case 'qmp':
      return resizeInQemu(target, disk, signal);
    case 'firecracker':
      return resizeInFirecracker(target, disk, signal);
    case 'cloud-hypervisor':
      return resizeInCloudHypervisor(target, disk, signal);
    case 'hook':
      return runHook(target, disk, signal);
  }
}

/**
 * Keeps a disk from growing while its hypervisor is told its size. QEMU and cloud-hypervisor set the size of the file to what they are
 * told: that of a moment ago would cut off what another has added since.
 */
async function holdSize(
  disk: GrownDisk,
  signal: AbortSignal,
): Promise<Disposable & { readonly bytes: number }> {
  const status = statSync(disk.path);
  // A device has the size that the storage gives it, whatever it is told.
  if (!status.isFile()) return { bytes: disk.bytes, [Symbol.dispose]: () => undefined };
  const directory = new Descriptor(
    openSync(dirname(disk.path), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW),
  );
  try {
    while (!lock(directory.fd, 'shared', false)) await delay(5, undefined, { signal });
    const bytes = statSync(disk.path).size;
    if (bytes < disk.bytes) {
      throw new CoppiceError(
        'io_error',
        `${disk.path} has only ${formatSize(bytes)} by now; has it been rolled back?`,
      );
    }
    return { bytes, [Symbol.dispose]: () => directory[Symbol.dispose]() };
  } catch (error) {
    directory[Symbol.dispose]();
    throw signal.aborted ? signal.reason : error;
  }
}

function explain({ name, bytes, previousBytes }: GrownDisk, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const grown =
    bytes === previousBytes
      ? `${name} has ${formatSize(bytes)}`
      : `${name} has grown from ${formatSize(previousBytes)} to ${formatSize(bytes)}`;
  const code = error instanceof CoppiceError ? error.code : 'io_error';
  const why = error.message.replace(/\.$/, '');
  return new CoppiceError(
    code,
    `${grown}, but its hypervisor was not told: ${why}. The disk stays as it is; when that is mended, run the same command again.`,
    { cause: error },
  );
}
