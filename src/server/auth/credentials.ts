import { type ContextKey, createContextKey } from '@connectrpc/connect';
import type { Credentials } from './authenticate.ts';

/** What a caller shows of himself. */
export const credentialsKey: ContextKey<Credentials> = createContextKey<Credentials>(
  { authorization: undefined, peer: undefined, socket: undefined },
  { description: 'what a caller shows of himself' },
);
