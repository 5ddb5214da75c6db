import type { DescMessage, Message, MessageShape } from '@bufbuild/protobuf';
import { Code, type HandlerContext } from '@connectrpc/connect';
import { Durability } from '../api/generated/coppice/v1/resources_pb.ts';
import type { Pool } from '../engine/pool.ts';
import { type Caller, callerKey } from './auth/caller.ts';
import { refused } from './failures.ts';
import type { Jobs } from './jobs/jobs.ts';
import type { Log } from './log.ts';
import type { PoolEvents } from './pools/pool-events.ts';
import type { ServedPool } from './pools/served-pool.ts';
import type { OnceSteps, Requests } from './state/requests.ts';

/** What the services work with. */
export interface ServerContext {
  readonly pools: ReadonlyMap<string, ServedPool>;
  readonly events: ReadonlyMap<string, PoolEvents>;
  readonly requests: Requests;
  readonly jobs: Jobs;
  readonly log: Log;
  readonly auditLog: string;
  /** Real paths; whoever is no admin reads and writes images only below these. */
  readonly imageDirectories: readonly string[];
  /** The same for the sockets of hypervisors and guests. */
  readonly socketDirectories: readonly string[];
  /** Programs that a request can name, each as its arguments. */
  readonly hooks: ReadonlyMap<string, readonly string[]>;
  /** Fires when the server stops. */
  readonly stopping: AbortSignal;
}

/** @throws ConnectError NOT_FOUND */
export function servedPool(context: ServerContext, id: string): ServedPool {
  const served = context.pools.get(id);
  if (served) return served;
  const all = [...context.pools.keys()].sort().join(', ');
  throw refused(Code.NotFound, 'NOT_FOUND', `The server has no pool named ${id}; it has ${all}.`);
}

/** @throws ConnectError NOT_FOUND */
export function eventsOf(context: ServerContext, id: string): PoolEvents {
  servedPool(context, id);
  return context.events.get(id) as PoolEvents;
}

export function callerOf(handler: Pick<HandlerContext, 'values'>): Caller {
  return handler.values.get(callerKey);
}

/** The pool, used on behalf of the caller. @throws ConnectError UNAVAILABLE */
export function poolFor(served: ServedPool, handler: HandlerContext): Pool {
  const { principal, requestId } = callerOf(handler);
  return served.pool.onBehalfOf({ principal, requestId });
}

/** A request that changes something, and may come twice. */
export interface Repeatable extends Message {
  readonly requestId: string;
  readonly durability?: Durability;
  readonly validateOnly?: boolean;
}

/** As `Attempt`, of a request that may have no id. */
export interface PossiblyOnce {
  /** Undefined without an id. */
  readonly mark?: string;
  /** Looks only where it is needed. */
  readonly note: (text: () => Promise<string>) => Promise<void>;
  readonly done: () => void;
}

const justOnce: PossiblyOnce = { note: () => Promise.resolve(), done: () => {} };

/** Does a request once, also when it comes again; where it has no id, just does it. */
export function once<R extends DescMessage>(
  context: ServerContext,
  handler: HandlerContext,
  request: Repeatable,
  steps: Omit<OnceSteps<R>, 'run'> & {
    readonly run: (attempt: PossiblyOnce) => Promise<MessageShape<R>>;
  },
): Promise<MessageShape<R>> {
  // What only looks may be asked as often as one likes, and leaves the id to what is done then.
  if (request.requestId === '' || request.validateOnly === true) return steps.run(justOnce);
  const { method } = handler;
  return context.requests.once(
    {
      principal: callerOf(handler).principal,
      requestId: request.requestId,
      method: `${method.parent.typeName}.${method.name}`,
      request: { schema: method.input, message: request },
      isDeferred: request.durability === Durability.DEFERRED,
    },
    {
      ...steps,
      run: ({ note, ...attempt }) => steps.run({ ...attempt, note: async (text) => note(await text()) }),
    },
  );
}
