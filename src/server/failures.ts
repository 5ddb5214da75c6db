import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { BlockerKind, BlockersSchema, MissingSpaceSchema } from '../api/generated/coppice/v1/errors_pb.ts';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from '../api/generated/google/rpc/error_details_pb.ts';
import { type Blocker, CoppiceError, type ErrorCode, PoolClosed } from '../model/errors.ts';
import type { Violation } from './rules.ts';

/** What a failure is on the wire: mapped here, once. docs/errors.md has the table. */
export const statusCodes: Readonly<Record<ErrorCode, Code>> = {
  invalid_argument: Code.InvalidArgument,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  blocked: Code.FailedPrecondition,
  no_space: Code.ResourceExhausted,
  not_a_pool: Code.Unavailable,
  unsupported: Code.Unimplemented,
  invalid_image: Code.FailedPrecondition,
  checksum_mismatch: Code.FailedPrecondition,
  damaged: Code.DataLoss,
  permission_denied: Code.PermissionDenied,
  missing_tool: Code.FailedPrecondition,
  cancelled: Code.Canceled,
  busy: Code.Aborted,
  io_error: Code.Internal,
};

const domain = 'coppice';

interface Detail<D extends DescMessage = DescMessage> {
  readonly desc: D;
  readonly value: MessageInitShape<D>;
}

function detail<D extends DescMessage>(desc: D, value: MessageInitShape<D>): Detail {
  return { desc, value } as unknown as Detail;
}

/** @param requestId by which the log has what a caller shall not see */
export function toConnectError(error: unknown, requestId: string): ConnectError {
  if (error instanceof ConnectError) return error;
  // It was closed because it is not there any more, or because the server stops.
  if (error instanceof PoolClosed) return unavailable('POOL_UNAVAILABLE', error.message, 2);
  if (error instanceof CoppiceError) {
    const details = [detail(ErrorInfoSchema, { reason: error.code.toUpperCase(), domain }), ...more(error)];
    return new ConnectError(shortened(error.message), statusCodes[error.code], undefined, details as never);
  }
  return new ConnectError(
    `A defect of the server; its log has more under the request ${requestId}.`,
    Code.Internal,
    undefined,
    [detail(ErrorInfoSchema, { reason: 'INTERNAL', domain })] as never,
  );
}

/** Errors go in headers, of which many clients take 8 KiB: of thousands of things that are wrong, so many are told. */
const mostListed = 12;
const longestMessage = 1000;

function shortened(message: string): string {
  return message.length <= longestMessage ? message : `${message.slice(0, longestMessage)}...`;
}

export function badRequest(violations: readonly Violation[]): ConnectError {
  const [first] = violations;
  const rest = violations.length > 1 ? ` (and ${violations.length - 1} more)` : '';
  const message = first ? `${first.field} ${first.description}${rest}.` : 'The request is not valid.';
  return new ConnectError(shortened(message), Code.InvalidArgument, undefined, [
    detail(ErrorInfoSchema, { reason: 'INVALID_ARGUMENT', domain }),
    detail(BadRequestSchema, { fieldViolations: violations.slice(0, mostListed) }),
  ] as never);
}

/** Has what the storage says against a request name the field that it is about. */
export async function aboutField<T>(
  fieldOf: string | ((message: string) => string),
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof CoppiceError) || error.code !== 'invalid_argument') throw error;
    const field = typeof fieldOf === 'string' ? fieldOf : fieldOf(error.message);
    throw new ConnectError(
      shortened(error.message),
      Code.InvalidArgument,
      undefined,
      [
        detail(ErrorInfoSchema, { reason: 'INVALID_ARGUMENT', domain }),
        detail(BadRequestSchema, { fieldViolations: [{ field, description: shortened(error.message) }] }),
      ] as never,
      error,
    );
  }
}

/** @param seconds after which it may be worth to try again */
export function unavailable(reason: string, message: string, seconds: number): ConnectError {
  return new ConnectError(message, Code.Unavailable, undefined, [
    detail(ErrorInfoSchema, { reason, domain }),
    detail(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds) } }),
  ] as never);
}

export function refused(code: Code, reason: string, message: string): ConnectError {
  return new ConnectError(message, code, undefined, [detail(ErrorInfoSchema, { reason, domain })] as never);
}

function more(error: CoppiceError): Detail[] {
  const { blockers, neededBytes, availableBytes } = error;
  const details: Detail[] = [];
  if (blockers.length > 0)
    details.push(detail(BlockersSchema, { blockers: blockers.slice(0, mostListed).map(toBlocker) }));
  if (neededBytes !== undefined && availableBytes !== undefined)
    details.push(
      detail(MissingSpaceSchema, {
        neededBytes: BigInt(neededBytes),
        availableBytes: BigInt(availableBytes),
      }),
    );
  return details;
}

const blockerKinds: Readonly<Record<Blocker['kind'], BlockerKind>> = {
  open: BlockerKind.OPEN,
  snapshots: BlockerKind.SNAPSHOTS,
  mounted: BlockerKind.MOUNTED,
  sealed: BlockerKind.SEALED,
  volumes: BlockerKind.VOLUMES,
  source: BlockerKind.SOURCE,
  unknown_holders: BlockerKind.UNKNOWN_HOLDERS,
  held: BlockerKind.HELD,
  guard: BlockerKind.GUARD,
};

export function toBlocker({ kind, what, remedy }: Blocker): {
  readonly kind: BlockerKind;
  readonly subject: string;
  readonly remedy: string;
} {
  return { kind: blockerKinds[kind], subject: what, remedy };
}
