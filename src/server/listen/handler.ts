import type { connectNodeAdapter } from '@connectrpc/connect-node';

/** What answers a request, whatever the version of HTTP. */
export type NodeHandlerFn = ReturnType<typeof connectNodeAdapter>;
