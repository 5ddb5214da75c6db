import type { MessageInitShape } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { type Job, type JobSchema, JobState } from '../../api/generated/coppice/v1/job_service_pb.ts';

/** How jobs end that have not come to their own end. */

/** The reason of a signal that fires because the server stops. */
export const stopping: Error = new Error('The server is stopping.');

export function endOf(signal: AbortSignal): MessageInitShape<typeof JobSchema> {
  if (signal.reason === stopping) return interrupted();
  return {
    state: JobState.CANCELLED,
    error: {
      code: Code.Canceled,
      message: 'It was cancelled.',
      info: { reason: 'CANCELLED', domain: 'coppice' },
    },
  };
}

export function interrupted(): MessageInitShape<typeof JobSchema> {
  return {
    state: JobState.INTERRUPTED,
    error: {
      code: Code.Aborted,
      message: 'The server ended while this ran. What was not whole is cleared; start it again.',
      info: { reason: 'INTERRUPTED', domain: 'coppice' },
    },
  };
}

/** Of several things, those that were made stay. */
export function isPartial(result: Job['result']): boolean {
  return result.case === 'cloneMany' || result.case === 'adoptDisks' || result.case === 'measureUsage';
}
