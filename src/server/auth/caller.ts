import { type ContextKey, createContextKey } from '@connectrpc/connect';
import type { Scope } from './scopes.ts';

/** Who is calling, as far as it is known. */
export interface Caller {
  /** As logs call him: `uid:0`, `token:ci`, `certificate:build-host`. */
  readonly principal: string;
  readonly scope: Scope;
  /** The pools that he may use; all when absent. */
  readonly pools?: readonly string[];
  /** By which the logs tell his request from others. */
  readonly requestId: string;
}

export const nobody: Caller = { principal: 'nobody', scope: 'read', pools: [], requestId: '' };

/** Set before anything of a request is read. */
export const callerKey: ContextKey<Caller> = createContextKey<Caller>(nobody, {
  description: 'who is calling',
});

/**
 * Whether somebody may have the server do anything on its host: run programs, and read and write files. Who is limited to some pools could
 * reach the others so.
 */
export function mayDoEverything({ scope, pools }: Caller): boolean {
  return scope === 'admin' && pools === undefined;
}

export function mayUse({ pools }: Caller, pool: string): boolean {
  return pools === undefined || pools.includes(pool);
}
