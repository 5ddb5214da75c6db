import { monitorEventLoopDelay } from 'node:perf_hooks';
import { JobState } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { version } from '../../model/version.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { Counter, gauge, Histogram, type Labels, textOf } from './registry.ts';

/** Upper bounds in seconds: from a clone that is not durable to an answer that waited for a lock. */
const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Milliseconds after which a pool that does not tell its space is left out. */
const patience = 2000;

/** Milliseconds between two looks at the clock, which are part of what is measured. */
const resolution = 5;

const jobStates: ReadonlyArray<readonly [JobState, string]> = [
  [JobState.RUNNING, 'running'],
  [JobState.SUCCEEDED, 'succeeded'],
  [JobState.FAILED, 'failed'],
  [JobState.CANCELLED, 'cancelled'],
  [JobState.INTERRUPTED, 'interrupted'],
];

/** What the server counts and measures, told at /metrics. */
export class Metrics implements Disposable {
  readonly #calls = new Counter('coppice_calls_total', 'Calls that have ended, by method and gRPC status.');
  readonly #durations = new Histogram(
    'coppice_call_duration_seconds',
    'How long calls took, by method.',
    bounds,
  );
  readonly #refusals = new Counter(
    'coppice_refused_calls_total',
    'Calls of somebody who may not, by gRPC status.',
  );
  readonly #events = new Counter('coppice_events_total', 'Changes that were told, by pool.');
  readonly #loop: ReturnType<typeof monitorEventLoopDelay> = monitorEventLoopDelay({ resolution });
  readonly #started = Date.now() / 1000;
  #underWay = 0;

  constructor() {
    this.#loop.enable();
  }

  begin(): void {
    this.#underWay++;
  }

  end(method: string, code: string, milliseconds: number): void {
    this.#underWay--;
    this.#calls.add({ method, code });
    this.#durations.observe(method, () => ({ method }), milliseconds / 1000);
  }

  refused(code: string): void {
    this.#refusals.add({ code });
  }

  event(pool: string): void {
    this.#events.add({ pool });
  }

  /** Forgets what the start has taken. */
  ready(): void {
    this.#loop.reset();
  }

  /** @param pools those that whoever asks may know of */
  async text(pools: readonly ServedPool[], jobs: Jobs): Promise<string> {
    const measured = await Promise.all(pools.map(async (pool) => ({ pool, vitals: await vitalsOf(pool) })));
    const spaces = measured.flatMap(({ pool, vitals }) => (vitals ? [{ id: pool.id, ...vitals }] : []));
    const counts = pools
      .filter((pool) => pool.isAvailable)
      .map((pool) => ({ id: pool.id, ...pool.index.counts }));
    const states = jobs.states();
    const text = [
      gauge('coppice_build_info', 'The version of Coppice.', [[{ version }, 1]]),
      this.#calls.text(),
      this.#durations.text(),
      gauge('coppice_calls_in_flight', 'Calls that have begun and not ended, with watches.', [
        [{}, this.#underWay],
      ]),
      this.#refusals.text(),
      this.#events.text(new Set(pools.map(({ id }) => textOf({ pool: id })))),
      gauge(
        'coppice_pool_available',
        'Whether a pool can be used.',
        pools.map((pool) => [{ pool: pool.id }, Number(pool.isAvailable)]),
      ),
      gauge(
        'coppice_pool_size_bytes',
        'Bytes of a pool.',
        spaces.map(({ id, space }) => [{ pool: id }, space.totalBytes]),
      ),
      gauge(
        'coppice_pool_free_bytes',
        'Bytes that are free in a pool.',
        spaces.map(({ id, space }) => [{ pool: id }, space.freeBytes]),
      ),
      gauge(
        'coppice_pool_compress_ratio',
        'How many times larger the data would be without compression.',
        spaces.flatMap(
          ({ id, space }): Array<readonly [Labels, number]> =>
            space.compressRatio === undefined ? [] : [[{ pool: id }, space.compressRatio]],
        ),
      ),
      gauge(
        'coppice_pool_host_free_bytes',
        'Bytes that are free under the file of a pool, which turns read-only when there are none.',
        spaces.flatMap(
          ({ id, space }): Array<readonly [Labels, number]> =>
            space.host ? [[{ pool: id, path: space.host.path }, space.host.freeBytes]] : [],
        ),
      ),
      gauge(
        'coppice_pool_host_reserve_bytes',
        'Bytes under the file of a pool that changes leave free.',
        spaces.flatMap(
          ({ id, space }): Array<readonly [Labels, number]> =>
            space.host ? [[{ pool: id, path: space.host.path }, space.host.reserveBytes]] : [],
        ),
      ),
      gauge(
        'coppice_volumes',
        'Volumes and templates.',
        counts.flatMap(({ id, volumes, templates }) => [
          [{ pool: id, type: 'volume' }, volumes],
          [{ pool: id, type: 'template' }, templates],
        ]),
      ),
      gauge(
        'coppice_snapshots',
        'Snapshots.',
        counts.map(({ id, snapshots }) => [{ pool: id }, snapshots]),
      ),
      gauge(
        'coppice_tombstones',
        'What is deleted and not gone yet.',
        spaces.map(({ id, tombstones }) => [{ pool: id }, tombstones]),
      ),
      gauge(
        'coppice_jobs',
        'Jobs of the last 24 hours.',
        pools.flatMap((pool) =>
          jobStates.map(([state, name]) => [
            { pool: pool.id, state: name },
            states.filter((each) => each.pool === pool.id && each.state === state).length,
          ]),
        ),
      ),
      gauge(
        'coppice_event_loop_delay_seconds',
        'How late the server looked at what had arrived, since this was last asked for.',
        [0.5, 0.99, 1].map((quantile) => [
          { quantile: String(quantile) },
          Math.max(0, this.#loop.percentile(quantile * 100) / 1e9 - resolution / 1000),
        ]),
      ),
      gauge('process_resident_memory_bytes', 'Memory that the server has.', [
        [{}, process.memoryUsage.rss()],
      ]),
      gauge('process_start_time_seconds', 'When the server was started, in seconds since 1970.', [
        [{}, this.#started],
      ]),
    ].join('');
    this.#loop.reset();
    return text;
  }

  [Symbol.dispose](): void {
    this.#loop.disable();
  }
}

/** Nothing where the pool can't be used, or is stuck: the other numbers are wanted all the more then. */
async function vitalsOf(
  served: ServedPool,
): Promise<Awaited<ReturnType<ServedPool['pool']['vitals']>> | undefined> {
  if (!served.isAvailable) return undefined;
  const asked = served.pool.vitals().catch(() => undefined);
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), patience);
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}
