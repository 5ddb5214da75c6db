import type { TLSSocket } from 'node:tls';
import { Code } from '@connectrpc/connect';
import { refused } from '../failures.ts';
import type { Caller } from './caller.ts';
import type { Peer } from './peer.ts';
import type { Scope } from './scopes.ts';
import { type Grant, type Grants, isExpired } from './tokens.ts';

export type Identity = Omit<Caller, 'requestId'>;

export interface Credentials {
  /** The header. */
  readonly authorization: string | undefined;
  /** The process at the other end of a unix socket; undefined over the network. */
  readonly peer: Peer | undefined;
  readonly socket: Pick<TLSSocket, 'authorized' | 'getPeerCertificate'> | undefined;
}

/**
 * Recognises who is calling. Over the unix socket the kernel has decided: who may open it may use it, with the scope that the operator gave
 * the group, and root with all. A token counts there, too: a proxy may pass it on.
 * @throws ConnectError UNAUTHENTICATED
 */
export function authenticate(
  { authorization, peer, socket }: Credentials,
  grants: Grants,
  socketScope: Scope,
): Identity {
  if (authorization !== undefined) return byToken(authorization, grants);
  if (peer) {
    const scope = peer.uid === 0 || peer.uid === process.getuid?.() ? 'admin' : socketScope;
    return { principal: `uid:${peer.uid}`, scope };
  }
  if (socket?.authorized) return byCertificate(socket, grants);
  throw unauthenticated(
    'NO_CREDENTIALS',
    'Give a token ("authorization: Bearer TOKEN") or a client certificate.',
  );
}

function byToken(authorization: string, grants: Grants): Identity {
  const [, token] = /^Bearer +([\x21-\x7e]{1,256}) *$/i.exec(authorization) ?? [];
  if (token === undefined)
    throw unauthenticated('BAD_CREDENTIALS', 'The header "authorization" must be "Bearer TOKEN".');
  const grant = grants.forToken(token);
  if (!grant) throw unauthenticated('UNKNOWN_TOKEN', 'The token is not known, or was revoked.');
  return identityOf(grant);
}

function byCertificate(
  socket: NonNullable<Credentials['socket']>,
  grants: Grants,
  now: number = Date.now(),
): Identity {
  const { subject, valid_to: until } = socket.getPeerCertificate();
  // It was valid when the connection began, which may be long ago.
  if (!(Date.parse(until) > now))
    throw unauthenticated('EXPIRED', 'The certificate of the client has expired.');
  const commonName = subject?.CN;
  const grant = typeof commonName === 'string' ? grants.forCertificate(commonName) : undefined;
  if (grant) return identityOf(grant);
  throw unauthenticated(
    'UNKNOWN_CERTIFICATE',
    'The certificate is valid, but nothing was granted to its common name; "coppice token create --certificate" does that.',
  );
}

function identityOf(grant: Grant): Identity {
  const principal = `${grant.kind}:${grant.name}`;
  if (isExpired(grant)) throw unauthenticated('EXPIRED', `The ${grant.kind} ${grant.name} has expired.`);
  return { principal, scope: grant.scope, ...(grant.pools && { pools: grant.pools }) };
}

function unauthenticated(reason: string, message: string): Error {
  return refused(Code.Unauthenticated, reason, message);
}
