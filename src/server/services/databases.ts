import type { Duration } from '@bufbuild/protobuf/wkt';
import { Code, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import type { JobService } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { mayDoEverything } from '../auth/caller.ts';
import { callerOf, poolFor } from '../context.ts';
import { badRequest, refused } from '../failures.ts';
import { branchResult, verifyResult } from '../jobs/results.ts';
import type { StartJob } from './jobs.ts';
import { poolIn, referenceIn } from './naming.ts';

/** What starts databases on copies of snapshots. */
export function databases(
  start: StartJob,
): Pick<ServiceImpl<typeof JobService>, 'verifySnapshot' | 'branchSnapshot'> {
  return {
    verifySnapshot(request, handler) {
      const { name, statements, recoveryTimeout, programDirectory } = request;
      if (statements.length > 0) requireEverything(handler, 'statements', 'a statement can run programs');
      const options = {
        ...(statements.length > 0 && { sql: statements }),
        ...timeoutField(recoveryTimeout),
        ...programsField(handler, programDirectory),
      };
      return start(request, handler, poolIn(name), async ({ signal, onProgress }, served) => {
        const pool = poolFor(served, handler);
        const verified = await pool.verify(referenceIn(name), { ...options, signal, onProgress });
        // It may take many minutes, in which others change the volume: only now it is looked at again.
        await served.alsoChanged([verified.reference]);
        return { case: 'verifySnapshot', value: verifyResult(served.id, verified) };
      });
    },

    branchSnapshot(request, handler) {
      const { source, volumeId: name, withoutStart, port, programDirectory } = request;
      const options = {
        start: !withoutStart,
        ...(port > 0 && { port }),
        ...programsField(handler, programDirectory),
      };
      return start(request, handler, poolIn(source), async ({ signal, onProgress }, served) => {
        const branched = await served.change([name], () =>
          poolFor(served, handler).branch(referenceIn(source), name, { ...options, signal, onProgress }),
        );
        await served.alsoChanged(branched.with ?? []);
        return { case: 'branchSnapshot', value: branchResult(served.id, branched) };
      });
    },
  };
}

/** The longest that a recovery may be waited for, in seconds. */
const longest = 24 * 60 * 60;

/** @throws ConnectError INVALID_ARGUMENT */
function timeoutField(timeout: Duration | undefined): { readonly timeoutMilliseconds?: number } {
  if (!timeout) return {};
  const seconds = Number(timeout.seconds) + timeout.nanos / 1e9;
  if (seconds > 0 && seconds <= longest) return { timeoutMilliseconds: Math.ceil(seconds * 1000) };
  throw badRequest([
    { field: 'recovery_timeout', description: 'must be more than nothing and at most a day' },
  ]);
}

/** @throws ConnectError PERMISSION_DENIED */
function programsField(handler: HandlerContext, directory: string): { readonly programs?: string } {
  if (directory === '') return {};
  requireEverything(handler, 'program_directory', 'what lies there is run');
  return { programs: directory };
}

/** @throws ConnectError PERMISSION_DENIED */
function requireEverything(handler: HandlerContext, field: string, why: string): void {
  const caller = callerOf(handler);
  if (mayDoEverything(caller)) return;
  throw refused(
    Code.PermissionDenied,
    'FIELD_NOT_ALLOWED',
    `${field}: only an admin of all pools may give it, because ${why} on the host of the server.`,
  );
}
