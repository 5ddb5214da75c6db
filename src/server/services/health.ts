import { create } from '@bufbuild/protobuf';
import { Code, type ServiceImpl } from '@connectrpc/connect';
import {
  type Health,
  type HealthCheckResponse,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as Status,
} from '../../api/generated/grpc/health/v1/health_pb.ts';
import { refused } from '../failures.ts';

/** Who may ask that need not say who he is: all of them together hold so much. */
const mostWatches = 200;

/** Whether the server serves. That a pool is missing is told by that pool: the others can be used. */
export function healthService(
  services: ReadonlySet<string>,
  stopping: AbortSignal,
): ServiceImpl<typeof Health> {
  let watching = 0;
  const statusOf = (service: string): Status | undefined => {
    if (service !== '' && !services.has(service)) return undefined;
    return stopping.aborted ? Status.NOT_SERVING : Status.SERVING;
  };
  const answer = (status: Status): HealthCheckResponse => create(HealthCheckResponseSchema, { status });
  return {
    check({ service }) {
      const status = statusOf(service);
      if (status !== undefined) return answer(status);
      throw refused(
        Code.NotFound,
        'NOT_FOUND',
        `There is no service ${JSON.stringify(service.slice(0, 80))}.`,
      );
    },
    async *watch({ service }, { signal: gone }) {
      if (watching === mostWatches)
        throw refused(Code.ResourceExhausted, 'TOO_MANY_WATCHES', `${mostWatches} watches are the most.`);
      watching++;
      try {
        yield* states(service, gone);
      } finally {
        watching--;
      }
    },
  };

  async function* states(service: string, gone: AbortSignal): AsyncGenerator<HealthCheckResponse> {
    yield answer(statusOf(service) ?? Status.SERVICE_UNKNOWN);
    const signal = AbortSignal.any([gone, stopping]);
    if (!signal.aborted)
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve());
      });
    if (!gone.aborted) yield answer(statusOf(service) ?? Status.SERVICE_UNKNOWN);
  }
}
