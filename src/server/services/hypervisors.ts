import { Code, type HandlerContext } from '@connectrpc/connect';
import type {
  GuestFreeze,
  HypervisorTarget as TargetMessage,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { freezeGuest } from '../../consistency/freeze-guest.ts';
import type { SnapshotOptions } from '../../engine/operations/snapshot.ts';
import type { Pool } from '../../engine/pool.ts';
import type { GrownDisk, Notified } from '../../hypervisors/notify.ts';
import { notifyHypervisor, requireSafeTarget } from '../../hypervisors/notify.ts';
import type { HypervisorTarget } from '../../hypervisors/target.ts';
import type { ServerContext } from '../context.ts';
import { badRequest, refused } from '../failures.ts';
import { requireSocketPath } from './host-paths.ts';

/** The programs at the other end of a disk, as a request names them. */

export interface Notifier {
  /** @throws CoppiceError when the socket or the program can't be used */
  requireSafe(): void;
  tell(disk: GrownDisk): Promise<Notified>;
}

/** What tells a hypervisor, if the caller may name it. @throws ConnectError */
export function notifierOf(
  context: ServerContext,
  handler: HandlerContext,
  message: TargetMessage | undefined,
): Notifier | undefined {
  if (!message) return undefined;
  const named = targetOf(context, message);
  const target =
    named.kind === 'hook'
      ? named
      : {
          ...named,
          socket: requireSocketPath(context, handler, `notify.${fields[named.kind]}.socket`, named.socket),
        };
  return {
    requireSafe: () => requireSafeTarget(target),
    tell: (disk) => notifyHypervisor(target, disk),
  };
}

const fields = { qmp: 'qmp', firecracker: 'firecracker', 'cloud-hypervisor': 'cloud_hypervisor' } as const;

function targetOf({ hooks }: ServerContext, { hypervisor }: TargetMessage): HypervisorTarget {
  switch (hypervisor.case) {
    case 'qmp': {
      const { socket, device } = hypervisor.value;
      return { kind: 'qmp', socket, ...(device !== '' && { device }) };
    }
    case 'firecracker':
      return { kind: 'firecracker', socket: hypervisor.value.socket, drive: hypervisor.value.drive };
    case 'cloudHypervisor':
      return { kind: 'cloud-hypervisor', socket: hypervisor.value.socket, disk: hypervisor.value.disk };
    case 'hook': {
      const command = hooks.get(hypervisor.value);
      if (command) return { kind: 'hook', command };
      throw refused(
        Code.NotFound,
        'NOT_FOUND',
        `The server has no hook named ${hypervisor.value}; the operator gives it one with "coppice serve --hook NAME=PROGRAM".`,
      );
    }
    default:
      throw badRequest([{ field: 'notify', description: 'must say which hypervisor' }]);
  }
}

/** Takes snapshots, while the guest holds still if that was asked for. @throws ConnectError, CoppiceError */
export async function takeStill<T extends { readonly reference: string }>(
  context: ServerContext,
  handler: HandlerContext,
  freeze: GuestFreeze | undefined,
  pool: Pool,
  take: (claims: Pick<SnapshotOptions, 'heldStill' | 'frozenUntil'>) => Promise<T>,
): Promise<T> {
  if (!freeze) return await take({});
  const { guestAgentSocket, timeout } = freeze;
  const socket = requireSocketPath(context, handler, 'freeze.guest_agent_socket', guestAgentSocket);
  const timeoutMilliseconds = timeout && Number(timeout.seconds) * 1000 + timeout.nanos / 1e6;
  const { result } = await freezeGuest(
    { kind: 'qemu-ga', socket },
    { signal: context.stopping, ...(timeoutMilliseconds && { timeoutMilliseconds }) },
    {
      take: (frozenUntil) => take({ heldStill: 'freeze', frozenUntil }),
      undo: ({ reference }) => pool.remove(reference),
    },
  );
  return result;
}
