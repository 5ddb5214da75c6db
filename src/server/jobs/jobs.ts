import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { EventType } from '../../api/generated/coppice/v1/event_service_pb.ts';
import { type Job, JobSchema, JobState } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { jobName, parseResourceName } from '../../api/resource-names.ts';
import type { OperationProgress } from '../../engine/control.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import { toJobError } from '../convert.ts';
import { unavailable } from '../failures.ts';
import type { Log } from '../log.ts';
import type { State } from '../state/state.ts';
import { endOf, interrupted, isPartial, stopping } from './endings.ts';
import { Lanes } from './lanes.ts';

/** Milliseconds for which a job is kept after its end. */
const keptFor: number = 24 * 60 * 60 * 1000;

/** Milliseconds between two reports of progress. */
const usualPause = 200;

export interface JobControl {
  /** What is made shall carry it as its mark. */
  readonly id: string;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: OperationProgress) => void;
}

export interface JobRequest {
  readonly pool: string;
  readonly method: string;
  readonly creator: string;
  /** By which the logs tell it from others. */
  readonly requestId: string;
  /** A UUID is made when absent. */
  readonly id?: string;
  readonly run: (control: JobControl) => Promise<Job['result']>;
}

/** Whether a job that was interrupted had its effect before: its result. */
export type FindResult = (job: Job, id: string) => Promise<Job['result'] | undefined>;

interface Entry {
  /** Replaced at each change: who was told of one keeps it as it was. */
  job: Job;
  readonly pool: string;
  /** Started by this run of the server. */
  readonly isOurs: boolean;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  told: number;
  waiting: Array<() => void>;
}

/** Long work: under way, and ended lately. */
export class Jobs {
  readonly #state: State;
  readonly #log: Log;
  readonly #entries = new Map<string, Entry>();
  readonly #lanes = new Lanes();
  #isStopping = false;
  readonly #onChange: (pool: string, job: Job, type: EventType) => void;

  constructor(state: State, log: Log, onChange: (pool: string, job: Job, type: EventType) => void) {
    this.#state = state;
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Reads what an earlier run has left. */
  async load(): Promise<void> {
    for (const { id, pool, message } of await this.#state.jobs())
      this.#entries.set(id, {
        job: fromBinary(JobSchema, message),
        pool,
        isOurs: false,
        abort: new AbortController(),
        ended: Promise.resolve(),
        told: 0,
        waiting: [],
      });
  }

  /** Ends the jobs of an earlier run in a pool that can be used now: opening it has cleared what they had left. */
  async settle(pool: string, find: FindResult): Promise<void> {
    for (const [id, entry] of this.#entries) {
      if (entry.pool !== pool || entry.isOurs || entry.job.state !== JobState.RUNNING) continue;
      let result: Job['result'] | undefined;
      try {
        result = await find(entry.job, id);
      } catch {
        continue; // the pool has gone again: when it comes back
      }
      await this.#end(id, entry, result ? { state: JobState.SUCCEEDED, result } : interrupted());
    }
  }

  /** Starts a job. Resolves when it is sure to be known after a restart. @throws CoppiceError when that can't be written down */
  async start({ pool, method, creator, requestId, run, id = randomId() }: JobRequest): Promise<Job> {
    const known = this.#entries.get(id);
    if (known) return known.job;
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const job = create(JobSchema, {
      name: jobName(pool, id),
      method,
      creator,
      state: JobState.RUNNING,
      createTime: timestampFromMs(Date.now()),
      progress: { step: 'waiting' },
    });
    const entry: Entry = {
      job,
      pool,
      isOurs: true,
      abort: new AbortController(),
      ended,
      told: 0,
      waiting: [],
    };
    if (this.#isStopping) throw unavailable('STOPPING', 'The server is stopping; start it again later.', 5);
    this.#lanes.requireRoom(laneOf(entry).lane);
    await this.#save(id, entry);
    if (this.#isStopping) entry.abort.abort(stopping);
    this.#entries.set(id, entry);
    this.#onChange(pool, job, EventType.ADDED);
    void this.#run(id, entry, run, requestId).finally(end);
    return job;
  }

  /** The newest first. */
  list(pool: string): Job[] {
    const entries = [...this.#entries.values()].filter((entry) => entry.pool === pool);
    return entries.map((entry) => entry.job).toReversed();
  }

  get(name: string): Job | undefined {
    return this.#find(name)?.job;
  }

  /** Resolves when it has ended. */
  async cancel(name: string): Promise<Job | undefined> {
    const entry = this.#find(name);
    entry?.abort.abort();
    await entry?.ended;
    return entry?.job;
  }

  /** Resolves when a job is another than it was, or the signal fires. */
  async nextChange(known: Job, signal: AbortSignal): Promise<void> {
    const entry = this.#find(known.name);
    if (!entry || entry.job !== known || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end);
        entry.waiting = entry.waiting.filter((each) => each !== end);
        resolve();
      };
      entry.waiting.push(end);
      signal.addEventListener('abort', end);
    });
  }

  /** The state of each. */
  states(): Array<{ readonly pool: string; readonly state: JobState }> {
    return [...this.#entries.values()].map(({ pool, job }) => ({ pool, state: job.state }));
  }

  /** Forgets what ended long ago. */
  async expire(now: number = Date.now()): Promise<void> {
    for (const id of await this.#state.expire(now - keptFor)) {
      const entry = this.#entries.get(id);
      this.#entries.delete(id);
      if (entry) this.#onChange(entry.pool, entry.job, EventType.REMOVED);
    }
  }

  /** Ends all, because the server stops: each clears what it has made in part, and is told as interrupted. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const { abort } of this.#entries.values()) abort.abort(stopping);
    await Promise.all([...this.#entries.values()].map(({ ended }) => ended));
  }

  async #run(id: string, entry: Entry, run: JobRequest['run'], requestId: string): Promise<void> {
    const { signal } = entry.abort;
    let ending: MessageInitShape<typeof JobSchema>;
    try {
      const { lane, width } = laneOf(entry);
      const result = await this.#lanes.run(lane, width, signal, () =>
        run({ id, signal, onProgress: (progress) => this.#report(entry, progress) }),
      );
      const isCut = signal.aborted && isPartial(result);
      const total = entry.job.progress?.total ?? 0n;
      const progress = { step: 'done', fraction: 1, done: total, total };
      ending = { ...(isCut ? endOf(signal) : { state: JobState.SUCCEEDED, progress }), result };
    } catch (error) {
      const isCancelled = signal.aborted && error instanceof CoppiceError && error.code === 'cancelled';
      if (!(error instanceof CoppiceError))
        this.#log.error('job failed', { job: entry.job.name, requestId, error: stackOf(error) });
      ending = isCancelled ? endOf(signal) : { state: JobState.FAILED, error: toJobError(error, requestId) };
    }
    await this.#end(id, entry, ending);
  }

  /** It is written down before it is told: who has heard how a job ended hears the same after a crash. */
  async #end(id: string, entry: Entry, ending: MessageInitShape<typeof JobSchema>): Promise<void> {
    const job = changed(entry.job, { ...ending, endTime: timestampFromMs(Date.now()) });
    await this.#saveIfPossible(id, { ...entry, job });
    this.#tell(entry, job);
  }

  #report(entry: Entry, { step, fraction, done = 0, total = 0 }: OperationProgress): void {
    const now = performance.now();
    if (step === entry.job.progress?.step && now - entry.told < usualPause) return;
    entry.told = now;
    const progress = { step, fraction, done: BigInt(done), total: BigInt(total) };
    this.#tell(entry, changed(entry.job, { progress }));
  }

  #tell(entry: Entry, job: Job): void {
    entry.job = job;
    this.#onChange(entry.pool, job, EventType.CHANGED);
    for (const tell of entry.waiting) tell();
  }

  #find(name: string): Entry | undefined {
    const parsed = parseResourceName(name);
    const entry = parsed?.kind === 'job' ? this.#entries.get(parsed.job) : undefined;
    return entry?.job.name === name ? entry : undefined;
  }

  #save(id: string, { job, pool }: Entry): Promise<void> {
    const created = job.createTime ? timestampMs(job.createTime) : 0;
    const ended = job.endTime && { ended: timestampMs(job.endTime) };
    return this.#state.saveJob({ id, pool, created, message: toBinary(JobSchema, job), ...ended });
  }

  /** Where the end of a job can't be written down, it is told all the same; after a restart it is looked for again. */
  async #saveIfPossible(id: string, entry: Entry): Promise<void> {
    await this.#save(id, entry).catch((error: unknown) =>
      this.#log.error('the end of a job could not be saved', { job: entry.job.name, error: String(error) }),
    );
  }
}

/**
 * Measuring is for everybody who may read, and takes long: it shall not hold up what changes something, nor everything else. Each proof has a
 * database of its own, which reads all that it has.
 */
const narrow: Readonly<Record<string, string>> = { MeasureUsage: 'measuring', VerifySnapshot: 'proving' };

function laneOf({ pool, job }: Entry): { readonly lane: string; readonly width: number } {
  const kind = narrow[job.method];
  return { lane: `${pool} ${kind ?? 'working'}`, width: kind === undefined ? 16 : 2 };
}

function changed({ $typeName, $unknown, ...before }: Job, news: MessageInitShape<typeof JobSchema>): Job {
  return create(JobSchema, { ...before, ...news });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
