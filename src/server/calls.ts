import { type DescMethod, getOption, hasOption, type Message } from '@bufbuild/protobuf';
import { Code, ConnectError, type HandlerContext, type Interceptor } from '@connectrpc/connect';
import { Access, access } from '../api/generated/coppice/v1/annotations_pb.ts';
import { Health } from '../api/generated/grpc/health/v1/health_pb.ts';
import { authenticate, type Credentials, type Identity } from './auth/authenticate.ts';
import { type Caller, callerKey, mayUse, nobody } from './auth/caller.ts';
import { credentialsKey } from './auth/credentials.ts';
import { allows, type Scope, scopeFor } from './auth/scopes.ts';
import type { Grants } from './auth/tokens.ts';
import { whileAllowed } from './auth/while-allowed.ts';
import { badRequest, refused, toConnectError } from './failures.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics/metrics.ts';
import { poolsIn, violationsOf } from './rules.ts';

/** What every call goes through: who calls and whether he may, whether the request is valid, how long it took and how it ended. */
export interface Calls {
  /** Before anything of a request is read. @throws ConnectError UNAUTHENTICATED, PERMISSION_DENIED */
  readonly gate: (handler: HandlerContext, credentials: Credentials, requestId: string) => void;
  /** Who may call a method. @throws ConnectError UNAUTHENTICATED, PERMISSION_DENIED */
  readonly admitTo: (method: DescMethod, credentials: Credentials, requestId: string) => Caller;
  /** The same for what is no method: to read is enough. */
  readonly admit: (what: string, credentials: Credentials, requestId: string) => Caller;
  /** Has everything done that belongs to a call with one request and one answer. @throws ConnectError */
  readonly around: <T>(
    method: DescMethod,
    message: Message,
    caller: Caller,
    run: () => Promise<T>,
  ) => Promise<T>;
  /** The same for what comes through Connect, and for streams. */
  readonly interceptor: Interceptor;
}

export interface CallsSetup {
  readonly grants: Grants;
  /** Of those who come over the unix socket and are not root. */
  readonly socketScope: Scope;
  readonly log: Log;
  readonly metrics: Metrics;
}

export function makeCalls({ grants, socketScope, log, metrics }: CallsSetup): Calls {
  const tellRefusal = (error: unknown, method: string, caller: Partial<Caller>): void => {
    const { code, rawMessage: reason } = toConnectError(error, caller.requestId ?? '');
    metrics.refused(Code[code]);
    log.warn('refused', { method, ...caller, code: Code[code], reason });
  };
  const deny = (error: unknown, method: string, caller: Partial<Caller>): never => {
    tellRefusal(error, method, caller);
    throw toConnectError(error, caller.requestId ?? '');
  };

  const admit = (what: string, needed: Access, credentials: Credentials, requestId: string): Caller => {
    let caller: Caller | undefined;
    try {
      caller = { ...authenticate(credentials, grants, socketScope), requestId };
      if (!allows(caller.scope, needed)) throw wrongScope(caller, needed);
      return caller;
    } catch (error) {
      return deny(error, what, caller ?? { requestId });
    }
  };

  const admitTo: Calls['admitTo'] = (method, credentials, requestId) =>
    // Whether it lives may be asked by everybody who can connect.
    method.parent.typeName === Health.typeName
      ? { ...nobody, requestId }
      : admit(nameOf(method), accessOf(method), credentials, requestId);

  /** Returns what is to be called at the end, with the failure if there is one. */
  const begin = (method: DescMethod, caller: Caller): ((error?: unknown) => void) => {
    const name = nameOf(method);
    const began = performance.now();
    metrics.begin();
    return (error) => {
      const code = error === undefined ? 'Ok' : Code[toConnectError(error, caller.requestId).code];
      const milliseconds = performance.now() - began;
      metrics.end(name, code, milliseconds);
      if (error !== undefined) tell(log, error, name, caller);
      if (log.isDebugging) log.debug('call', { method: name, ...about(caller), code, milliseconds });
    };
  };

  const around: Calls['around'] = async (method, message, caller, run) => {
    const end = begin(method, caller);
    try {
      check(method, message, caller);
      const response = await run();
      end();
      return response;
    } catch (error) {
      end(error);
      if (isRefusal(error)) tellRefusal(error, nameOf(method), about(caller));
      throw toConnectError(error, caller.requestId);
    }
  };

  return {
    admit: (what, credentials, requestId) => admit(what, Access.READ, credentials, requestId),
    admitTo,
    gate(handler, credentials, requestId) {
      handler.responseHeader.set('x-request-id', requestId);
      handler.values.set(callerKey, admitTo(handler.method, credentials, requestId));
    },

    around,

    interceptor: (next) => async (request) => {
      const caller = request.contextValues.get(callerKey);
      const { method } = request;
      if (!request.stream)
        return await around(method, request.message, caller, () => inTime(next(request), request.signal));
      const end = begin(method, caller);
      const message = checkEach(method, request.message, caller, (error) =>
        tellRefusal(error, nameOf(method), about(caller)),
      );
      try {
        const response = await next({ ...request, message } as typeof request);
        if (!response.stream) {
          end();
          return response;
        }
        if (caller.principal === nobody.principal)
          return { ...response, message: watching(response.message, caller, end) } as typeof response;
        const stillMay = (): void => {
          const credentials = request.contextValues.get(credentialsKey);
          requireSameRights(caller, authenticate(credentials, grants, socketScope));
        };
        const told = (error: unknown): void => tellRefusal(error, nameOf(method), caller);
        const allowed = whileAllowed(response.message, stillMay, told);
        return { ...response, message: watching(allowed, caller, end) } as typeof response;
      } catch (error) {
        end(error);
        throw toConnectError(error, caller.requestId);
      }
    },
  };
}

/** Whoever waits no longer is told so at once. What he has asked for goes on, as nobody can tell how far it was. */
function inTime<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = (): void =>
      reject(
        signal.reason instanceof ConnectError
          ? signal.reason
          : new ConnectError('The client has gone.', Code.Canceled),
      );
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });
}

/** Who asks for what he may not have, not for what the storage would not let us have. */
function isRefusal(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.PermissionDenied;
}

/** @throws ConnectError */
function check(method: DescMethod, message: Message, caller: Caller): void {
  const violations = violationsOf(method.input, message);
  if (violations.length > 0) throw badRequest(violations);
  for (const pool of poolsIn(method.input, message)) if (!mayUse(caller, pool)) throw wrongPool(caller, pool);
}

/** Of a stream of requests, each; where there is only one, as with watches, too. */
async function* checkEach<M extends Message>(
  method: DescMethod,
  messages: AsyncIterable<M>,
  caller: Caller,
  tellRefusal: (error: unknown) => void,
): AsyncIterable<M> {
  for await (const message of messages) {
    try {
      check(method, message, caller);
    } catch (error) {
      if (isRefusal(error)) tellRefusal(error);
      throw error;
    }
    yield message;
  }
}

/** A stream of answers: its end is the end of the call. */
async function* watching<M>(
  messages: AsyncIterable<M>,
  { requestId }: Caller,
  end: (error?: unknown) => void,
): AsyncIterable<M> {
  let failure: unknown;
  try {
    yield* messages;
  } catch (error) {
    failure = error;
    throw toConnectError(error, requestId);
  } finally {
    end(failure);
  }
}

/** Who had other rights when a stream began has to begin it again. */
function requireSameRights(before: Caller, now: Identity): void {
  const rightsOf = ({ principal, scope, pools }: Identity): string =>
    JSON.stringify([principal, scope, pools]);
  if (rightsOf(before) !== rightsOf(now))
    throw refused(Code.Unauthenticated, 'RIGHTS_CHANGED', `The rights of ${before.principal} have changed.`);
}

/** What a caller is not told stands in the log. */
function tell(log: Log, error: unknown, method: string, caller: Caller): void {
  const { code } = toConnectError(error, caller.requestId);
  if (code === Code.Internal || code === Code.DataLoss || code === Code.Unknown)
    log.error('call failed', { method, ...about(caller), error: stackOf(error) });
}

function about({ principal, requestId }: Caller): { readonly principal: string; readonly requestId: string } {
  return { principal, requestId };
}

function nameOf({ parent, name }: DescMethod): string {
  return `${parent.typeName}.${name}`;
}

const accesses = new Map<DescMethod, Access>();

function accessOf(method: DescMethod): Access {
  let known = accesses.get(method);
  if (known === undefined) {
    known = hasOption(method, access) ? getOption(method, access) : Access.UNSPECIFIED;
    accesses.set(method, known);
  }
  return known;
}

function wrongScope({ principal, scope }: Caller, needed: Access): ConnectError {
  return refused(
    Code.PermissionDenied,
    'SCOPE',
    `${principal} has the scope ${scope}, and this needs ${scopeFor(needed)}.`,
  );
}

function wrongPool({ principal }: Caller, pool: string): ConnectError {
  return refused(Code.PermissionDenied, 'POOL', `${principal} may not use the pool ${pool}.`);
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
