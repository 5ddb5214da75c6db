import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scratchDirectory } from '../../../test/support/devices.ts';
import { JobState } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { CoppiceError } from '../../model/errors.ts';
import { makeLog } from '../log.ts';
import { State } from '../state/state.ts';
import { type JobControl, type JobRequest, Jobs } from './jobs.ts';

const log = makeLog(() => {}, 'error');
let state: State;
beforeAll(() => {
  state = new State(scratchDirectory('state'));
});
afterAll(() => state[Symbol.asyncDispose]());

const request: Omit<JobRequest, 'run'> = {
  pool: 'p',
  method: 'CloneMany',
  creator: 'uid:0',
  requestId: 'r',
};

/** Goes on until it is ended, as the engine does. */
function untilEnded({ signal }: JobControl): Promise<never> {
  const cancelled = new CoppiceError('cancelled', 'It was cancelled.');
  return new Promise((_, reject) => {
    if (signal.aborted) reject(cancelled);
    signal.addEventListener('abort', () => reject(cancelled));
  });
}

test('a stop ends what runs, and what is just starting; nothing starts after it', async () => {
  const jobs = new Jobs(state, log, () => {});
  const running = await jobs.start({ ...request, run: untilEnded });
  const starting = jobs.start({ ...request, run: untilEnded });
  await jobs.stop();
  const started = await starting;
  expect(jobs.get(running.name)?.state).toBe(JobState.INTERRUPTED);
  await jobs.nextChange(started, AbortSignal.timeout(10_000));
  expect(jobs.get(started.name)?.state).toBe(JobState.INTERRUPTED);
  await expect(jobs.start({ ...request, run: untilEnded })).rejects.toMatchObject({ code: Code.Unavailable });
  expect(jobs.list('p')).toHaveLength(2);

  const later = new Jobs(state, log, () => {});
  await later.load();
  await later.settle('p', async () => undefined);
  expect(later.list('p').map((job) => job.state)).toEqual([JobState.INTERRUPTED, JobState.INTERRUPTED]);
});

test('an end is told when it is written down, and not before', async () => {
  const writing = Promise.withResolvers<void>();
  const mayGoOn = Promise.withResolvers<void>();
  class HeldState extends State {
    override async saveJob(job: Parameters<State['saveJob']>[0]): Promise<void> {
      if (job.ended !== undefined) {
        writing.resolve();
        await mayGoOn.promise;
      }
      await super.saveJob(job);
    }
  }
  await using held = new HeldState(scratchDirectory('held'));
  const jobs = new Jobs(held, log, () => {});
  const started = await jobs.start({ ...request, run: async () => ({ case: undefined }) });
  await writing.promise;
  expect(jobs.get(started.name)?.state).toBe(JobState.RUNNING);
  mayGoOn.resolve();
  await jobs.nextChange(started, AbortSignal.timeout(10_000));
  expect(jobs.get(started.name)?.state).toBe(JobState.SUCCEEDED);
});
