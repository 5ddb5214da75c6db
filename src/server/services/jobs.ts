import { create } from '@bufbuild/protobuf';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { Code, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import {
  type Job,
  JobSchema,
  type JobService,
  JobState,
  ListJobsResponseSchema,
} from '../../api/generated/coppice/v1/job_service_pb.ts';
import { VolumeType } from '../../api/generated/coppice/v1/resources_pb.ts';
import { callerOf, once, poolFor, type Repeatable, type ServerContext, servedPool } from '../context.ts';
import { formatOf } from '../convert.ts';
import { refused } from '../failures.ts';
import type { JobControl } from '../jobs/jobs.ts';
import { adoptResult, cloneManyResult, exportResult, importResult, measure } from '../jobs/results.ts';
import { withoutResult } from '../pools/pool-events.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { sizeField } from './changing-volumes.ts';
import { databases } from './databases.ts';
import { requireAllowedPath } from './host-paths.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, referenceIn } from './naming.ts';
import { pageOf } from './paging.ts';

/** Starts a job, once for each request. @throws ConnectError */
export type StartJob = (
  request: Repeatable,
  handler: HandlerContext,
  pool: string,
  run: (control: JobControl, served: ServedPool) => Promise<Job['result']>,
) => Promise<Job>;

/** Long work. */
export function jobService(context: ServerContext): ServiceImpl<typeof JobService> {
  const start: StartJob = async (request, handler, pool, run) => {
    const served = servedPool(context, pool);
    const { principal, requestId } = callerOf(handler);
    // Of a request that comes again the job is the same.
    const idOf = (mark: string): string => mark.slice(0, 32);
    const job = await once(context, handler, request, {
      response: JobSchema,
      find: async (mark) => context.jobs.get(`pools/${pool}/jobs/${idOf(mark)}`),
      run({ mark }) {
        void served.pool; // which throws where it can't be used
        return context.jobs.start({
          pool,
          method: handler.method.name,
          creator: principal,
          requestId,
          ...(mark !== undefined && { id: idOf(mark) }),
          run: (control) => run(control, served),
        });
      },
    });
    // What was answered first is kept; how it is now tells more.
    return context.jobs.get(job.name) ?? job;
  };
  const required = (name: string): Job => {
    servedPool(context, poolIn(name));
    const job = context.jobs.get(name);
    if (job) return job;
    throw refused(
      Code.NotFound,
      'NOT_FOUND',
      `There is no job ${name}; jobs are kept for 24 hours after their end.`,
    );
  };

  return {
    importTemplate(request, handler) {
      const { parent, volumeId: name, sourcePath, format, sha256 } = request;
      const { path: source, ...confined } = requireAllowedPath(context, handler, 'source_path', sourcePath);
      return start(request, handler, poolIn(parent), async ({ id, signal, onProgress }, served) => {
        const options = {
          ...confined,
          ...formatOf(format),
          ...(sha256 !== '' && { sha256 }),
          request: id,
          signal,
          onProgress,
        };
        const imported = await served.change([name], () =>
          poolFor(served, handler).import(name, source, options),
        );
        return { case: 'importTemplate', value: importResult(served.id, imported) };
      });
    },

    exportVolume(request, handler) {
      const { name, targetPath, format, overwrite } = request;
      const { path: target, ...confined } = requireAllowedPath(context, handler, 'target_path', targetPath);
      return start(request, handler, poolIn(name), async ({ signal, onProgress }, served) => {
        const options = { ...confined, ...formatOf(format), overwrite, signal, onProgress };
        const exported = await poolFor(served, handler).export(referenceIn(name), target, options);
        return { case: 'exportVolume', value: exportResult(exported) };
      });
    },

    adoptDisks(request, handler) {
      const allowed = request.paths.map((path) => requireAllowedPath(context, handler, 'paths', path));
      const { parent, type, copy, force, keepGoing, removeOriginals, validateOnly } = request;
      return start(request, handler, poolIn(parent), async ({ signal, onProgress }, served) => {
        const as = adoptTypes[type];
        const paths = allowed.map(({ path }) => path);
        const { beneath } = allowed[0] ?? {};
        const adopted = await poolFor(served, handler).adopt(paths, {
          ...(beneath && { beneath }),
          ...(as && { as }),
          copy,
          force,
          keepGoing,
          removeOriginals,
          dryRun: validateOnly,
          signal,
          onProgress,
        });
        served.refreshed().catch(() => {});
        return { case: 'adoptDisks', value: adoptResult(served.id, adopted) };
      });
    },

    cloneMany(request, handler) {
      const { source, prefix, count, sizeBytes, replicable } = request;
      return start(request, handler, poolIn(source), async ({ signal, onProgress }, served) => {
        const options = { ...sizeField(sizeBytes), replicable, signal, onProgress };
        const made = await poolFor(served, handler).cloneMany(referenceIn(source), prefix, count, options);
        served.refreshed().catch(() => {});
        const [first] = made.failed;
        if (made.cloned.length === 0 && first && !signal.aborted) throw first.error;
        return { case: 'cloneMany', value: cloneManyResult(made) };
      });
    },

    measureUsage({ parent, names, ...request }, handler) {
      const pool = poolIn(parent);
      requireOfPool(names, 'names', pool);
      return start({ ...request, requestId: '' }, handler, pool, async (control, served) => ({
        case: 'measureUsage',
        value: await measure(served, [...new Set(names.map(referenceIn))], control),
      }));
    },

    ...databases(start),

    getJob: ({ name }) => required(name),

    listJobs({ parent, pageSize, pageToken, state }) {
      const pool = poolIn(parent);
      servedPool(context, pool);
      const all = context.jobs.list(pool);
      const wanted = state === JobState.UNSPECIFIED ? all : all.filter((job) => job.state === state);
      const { items, nextPageToken } = pageOf(
        wanted,
        { of: `${parent} jobs`, keyOf: startOf, isReversed: true },
        pageSize,
        pageToken,
      );
      return create(ListJobsResponseSchema, { jobs: items.map(withoutResult), nextPageToken });
    },

    async cancelJob({ name }) {
      required(name);
      await context.jobs.cancel(name);
      return required(name);
    },

    async *watchJob({ name }, { signal: gone }) {
      const signal = AbortSignal.any([gone, context.stopping]);
      for (let job = required(name); ; job = required(name)) {
        yield job;
        if (job.state !== JobState.RUNNING || signal.aborted) return;
        await context.jobs.nextChange(job, signal);
      }
    },
  };
}

/** When it started, and its name where several did at once. */
function startOf({ createTime, name }: Job): string {
  const milliseconds = createTime ? timestampMs(createTime) : 0;
  return `${String(milliseconds).padStart(16, '0')} ${name}`;
}

const adoptTypes: Readonly<Partial<Record<VolumeType, 'volume' | 'template'>>> = {
  [VolumeType.VOLUME]: 'volume',
  [VolumeType.TEMPLATE]: 'template',
};
