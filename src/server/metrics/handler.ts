import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { type Caller, mayUse } from '../auth/caller.ts';
import type { ServerContext } from '../context.ts';
import type { NodeHandlerFn } from '../listen/handler.ts';
import type { Metrics } from './metrics.ts';

/**
 * What is no method of the contract: /metrics, and else nothing.
 * @param admit says who asks, and throws a ConnectError for whoever may not
 */
export function metricsHandler(
  metrics: Metrics,
  context: ServerContext,
  admit: (request: IncomingMessage | Http2ServerRequest) => Caller,
): NodeHandlerFn {
  return (request, anyResponse) => {
    // Both kinds have what is used here.
    const response = anyResponse as ServerResponse;
    const end = (status: number, text: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
      response.end(text);
    };
    const [path] = (request.url ?? '').split('?', 1);
    if (path !== '/metrics')
      return end(
        404,
        'There is nothing here. The methods are POST /coppice.v1.SERVICE/METHOD; metrics are at /metrics.\n',
      );
    if (request.method !== 'GET' && request.method !== 'HEAD') return end(405, 'Only GET.\n');
    let caller: Caller;
    try {
      caller = admit(request);
    } catch (error) {
      const code = error instanceof ConnectError ? error.code : Code.Internal;
      const status = code === Code.Unauthenticated ? 401 : code === Code.PermissionDenied ? 403 : 500;
      return end(status, `${error instanceof ConnectError ? error.rawMessage : 'A defect of the server.'}\n`);
    }
    const pools = [...context.pools.values()].filter(({ id }) => mayUse(caller, id));
    metrics.text(pools, context.jobs).then(
      (text) => end(200, text, 'text/plain; version=0.0.4; charset=utf-8'),
      (error: unknown) => {
        context.log.error('metrics failed', { error: String(error) });
        end(500, 'A defect of the server; its log has more.\n');
      },
    );
  };
}
