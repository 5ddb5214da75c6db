import { chmodSync, existsSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scratchDirectory } from '../../../test/support/devices.ts';
import { type Volume, VolumeSchema } from '../../api/generated/coppice/v1/resources_pb.ts';
import { GetVolumeRequestSchema } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { CoppiceError, type ErrorCode } from '../../model/errors.ts';
import { type Attempt, type Once, Requests } from './requests.ts';
import { State } from './state.ts';

let state: State;
beforeAll(() => {
  state = new State(scratchDirectory('state'));
});
afterAll(() => state[Symbol.asyncDispose]());

let count = 0;
function nextRequest(): Once {
  const message = create(GetVolumeRequestSchema, { name: 'pools/p/volumes/v' });
  return {
    principal: 'uid:0',
    requestId: `request-${++count}`,
    method: 'coppice.v1.VolumeService.Clone',
    request: { schema: GetVolumeRequestSchema, message },
  };
}

/** Something that is made once, and of which an attempt may fail before or after that. */
class Work {
  made: { readonly mark: string; readonly volume: Volume } | undefined;
  times = 0;
  readonly noted: string[] = [];

  /** What each attempt comes to: the effect and the answer, or a failure before or after the effect. */
  steps(ending: { readonly before?: Error; readonly after?: Error; readonly isTold?: boolean }) {
    return {
      response: VolumeSchema,
      run: async ({ mark, note, done }: Attempt) => {
        await note(`attempt of ${mark}`);
        if (ending.before) throw ending.before;
        if (this.made) throw new CoppiceError('already_exists', 'There is one already.');
        this.times++;
        this.made = { mark, volume: create(VolumeSchema, { name: `made-${this.times}` }) };
        if (ending.isTold) done();
        if (ending.after) throw ending.after;
        return this.made.volume;
      },
      find: async (mark: string, noted: string) => {
        this.noted.push(noted);
        return this.made?.mark === mark ? this.made.volume : undefined;
      },
    };
  }
}

const harmless: readonly ErrorCode[] = ['invalid_argument', 'not_found', 'blocked', 'busy'];
const late: readonly ErrorCode[] = ['io_error', 'no_space', 'damaged', 'cancelled'];
const failures = fc.oneof(
  fc.constantFrom(...harmless, ...late).map((code) => new CoppiceError(code, 'It failed.')),
  fc.constant(new Error('A fault of the program.')),
  fc.constant(new ConnectError('It went away.', Code.Unavailable)),
);

describe('a request with an id', () => {
  test('has one effect and one answer, wherever its attempts fail', async () => {
    // A failure that says that nothing was done is only told before the effect.
    const lateFailures = failures.filter(
      (error) => error instanceof Error && !(error instanceof ConnectError) && !isHarmless(error),
    );
    const ending = fc.oneof(
      fc.record({ before: failures }),
      fc.record({ after: lateFailures }),
      fc.constant({}),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(ending, { minLength: 1, maxLength: 6 }), async (endings) => {
        const once = nextRequest();
        const work = new Work();
        for (const each of endings) {
          const requests = new Requests(state); // of another run of the server
          const answer = await requests.once(once, work.steps(each)).catch(() => undefined);
          if (answer) expect(answer.name).toBe('made-1');
        }
        const last = await new Requests(state).once(once, work.steps({}));
        expect([last.name, work.times]).toEqual(['made-1', 1]);
      }),
      { numRuns: 60 },
    );
  });

  test('that failed late is looked for with what was noted, and is not free for another', async () => {
    for (const code of late) {
      const once = nextRequest();
      const work = new Work();
      const requests = new Requests(state);
      const failing = requests.once(once, work.steps({ after: new CoppiceError(code, 'Too late.') }));
      await expect(failing).rejects.toThrow('Too late.');
      const other = { ...once, method: 'coppice.v1.VolumeService.CreateVolume' };
      await expect(requests.once(other, work.steps({}))).rejects.toMatchObject({
        code: Code.InvalidArgument,
      });
      expect((await requests.once(once, work.steps({}))).name).toBe('made-1');
      expect(work.noted).toEqual([expect.stringMatching(/^attempt of [0-9a-f]{64}$/)]);
    }
  });

  test('that failed after it told that it was done is not free, whatever the failure says', async () => {
    for (const code of harmless) {
      const once = nextRequest();
      const work = new Work();
      const requests = new Requests(state);
      const failing = requests.once(
        once,
        work.steps({ isTold: true, after: new CoppiceError(code, 'Too late.') }),
      );
      await expect(failing).rejects.toThrow('Too late.');
      expect((await requests.once(once, work.steps({}))).name).toBe('made-1');
      expect([work.times, work.noted.length]).toEqual([1, 1]);
    }
  });

  test('that was deferred is looked for after a boot, and a durable one is not', async () => {
    const answered = async (isDeferred: boolean): Promise<Work> => {
      const once = { ...nextRequest(), isDeferred };
      const work = new Work();
      const lost = { name: 'pools/p/volumes/lost' };
      const earlier = { ...work.steps({}), run: async () => create(VolumeSchema, lost) };
      await new Requests(state, 'an earlier boot').once(once, earlier);
      const { name } = await new Requests(state).once(once, work.steps({}));
      expect(name).toBe(isDeferred ? 'made-1' : lost.name);
      return work;
    };
    expect((await answered(true)).noted).toHaveLength(1);
    expect((await answered(false)).noted).toHaveLength(0);
  });

  test('that failed before anything was done is free', async () => {
    for (const code of harmless) {
      const once = nextRequest();
      const work = new Work();
      const requests = new Requests(state);
      const failing = requests.once(once, work.steps({ before: new CoppiceError(code, 'Not now.') }));
      await expect(failing).rejects.toThrow('Not now.');
      const other = { ...once, method: 'coppice.v1.VolumeService.CreateVolume' };
      expect((await requests.once(other, work.steps({}))).name).toBe('made-1');
      expect(work.noted).toEqual([]);
    }
  });
});

function isHarmless(error: Error): boolean {
  return error instanceof CoppiceError && harmless.includes(error.code);
}

test('the state lies where nobody else can write, and is not followed through a link', async () => {
  const open = scratchDirectory('open');
  chmodSync(open, 0o777);
  expect(() => new State(open)).toThrow(/others than root/);
  const linked = scratchDirectory('linked');
  const elsewhere = join(linked, 'elsewhere');
  symlinkSync(elsewhere, join(linked, 'state.db'));
  await expect(new State(linked).jobs()).rejects.toThrow(/ELOOP/);
  expect(existsSync(elsewhere)).toBe(false);
  const own = scratchDirectory('own');
  await using other = new State(own);
  await other.jobs();
  expect(readdirSync(own).map((file) => statSync(join(own, file)).mode & 0o077)).toEqual(
    readdirSync(own).map(() => 0),
  );
});
