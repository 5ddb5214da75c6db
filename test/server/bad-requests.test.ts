import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EventService } from '../../src/api/generated/coppice/v1/event_service_pb.ts';
import { JobService } from '../../src/api/generated/coppice/v1/job_service_pb.ts';
import { PoolService } from '../../src/api/generated/coppice/v1/pool_service_pb.ts';
import { VolumeService } from '../../src/api/generated/coppice/v1/volume_service_pb.ts';
import { BadRequestSchema } from '../../src/api/generated/google/rpc/error_details_pb.ts';
import { badRequestsOf, type Given } from '../support/bad-requests.ts';
import { type Daemon, daemonPlace, postJson, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Every method with every field as it must not be, made from the descriptors: refused, the field named, nothing changed. */

const services: readonly DescService[] = [VolumeService, PoolService, JobService, EventService];
const methods = services.flatMap((service) => service.methods);
const given: Given = { pool: 'p', volume: 'v', snapshot: 's' };
const place = daemonPlace();
let home: TestPool;
let daemon: Daemon;
let before: string;

beforeAll(async () => {
  home = await makeTestPool();
  await home.pool.create('v', { bytes: 2 ** 20 });
  await home.pool.snapshot('v@s');
  daemon = await startDaemon({ p: home.path }, place);
  await daemon.said('pool available');
  before = await everything();
});
afterAll(async () => {
  expect(await everything(), 'what is in the pool').toBe(before);
  expect(await daemon.stop()).toBe(0);
  expect(daemon.log.filter((line) => line['level'] === 'error')).toEqual([]);
  await home[Symbol.asyncDispose]();
});

async function everything(): Promise<string> {
  const { jobs } = await daemon.client.jobs.listJobs({ parent: 'pools/p' });
  return JSON.stringify([await home.pool.list(), await home.pool.listSnapshots(), jobs.length]);
}

describe.each(methods.map((method) => ({ name: `${method.parent.name}.${method.name}`, method })))(
  '$name',
  ({ method }) => {
    const cases = badRequestsOf(method, given);

    test(`refuses ${cases.length} bad requests, and names the field`, async () => {
      // Only what has no field but those that may be anything.
      expect(cases.length, 'cases').toBeGreaterThan(0);
      for (const { field, why, message } of cases) {
        const error = await failure(method, message);
        const what = `${field} ${why}: ${error?.message}`;
        expect(Code[error?.code ?? 0], what).toBe('InvalidArgument');
        expect(namedIn(error), what).toContain(field);
        expect(error?.rawMessage, what).not.toMatch(/\n|\bat .*\.[jt]s:/);
      }
    });

    test('refuses values of another kind', async () => {
      const values = [7.5, 'text', true, null, [], {}, [[]], { a: { b: 1 } }, '9'.repeat(400), -1e300];
      for (const field of method.input.fields)
        for (const value of values) {
          const body = { [field.jsonName]: value };
          const answer = await postJson(place.socket, `${method.parent.typeName}/${method.name}`, body);
          // What is fine by itself fails because of what else is missing; a stream tells failures in its body.
          if (answer.status === 200) continue;
          expect([400, 415], answer.text).toContain(answer.status);
          expect(answer.text).not.toMatch(/\bat .*\.[jt]s:/);
          if (/can't be read|cannot decode/.test(answer.text)) expect(answer.text).toContain(field.name);
        }
    });
  },
);

test('a field that there is not is refused, and named', async () => {
  const body = { name: 'pools/p/volumes/v', validateonly: true };
  const answer = await postJson(place.socket, 'coppice.v1.VolumeService/DeleteVolume', body);
  expect(answer.status).toBe(400);
  expect(answer.text).toContain('validateonly');
});

test('what is no request at all is refused', async () => {
  for (const method of methods)
    for (const body of [
      '',
      '{',
      '[]',
      'null',
      '"',
      '\0',
      `{"name":${'['.repeat(10_000)}`,
      '{"name":"\\ud800"}',
    ]) {
      const answer = await postJson(place.socket, `${method.parent.typeName}/${method.name}`, body);
      expect(answer.status, `${method.name} ${body.slice(0, 20)}: ${answer.text}`).toBeGreaterThanOrEqual(
        400,
      );
      expect(answer.status).toBeLessThan(500);
    }
});

test('random bytes and random texts are no reason to fail', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.constantFrom('pools/p', 'pools/p/volumes/v'),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...methods),
      fc.array(text, { maxLength: 12 }),
      async (method, texts) => {
        const message: Record<string, unknown> = {};
        let next = 0;
        for (const field of method.input.fields)
          if (field.fieldKind === 'scalar' && typeof field.getDefaultValue() === 'string')
            message[field.localName] = texts[next++] ?? '';
        const error = await failure(method, { ...message, validateOnly: true });
        expect(Code[error?.code ?? Code.NotFound]).toMatch(
          /^(InvalidArgument|NotFound|FailedPrecondition|AlreadyExists|PermissionDenied|ResourceExhausted)$/,
        );
      },
    ),
    { numRuns: 200 },
  );
});

/** Calls by gRPC; the failure, or nothing when there was none. */
async function failure(method: DescMethod, message: unknown): Promise<ConnectError | undefined> {
  const client = createClient(method.parent, daemon.client.transport) as unknown as Record<
    string,
    (message: unknown) => unknown
  >;
  try {
    const answer = client[method.localName]?.(message);
    if (method.methodKind === 'server_streaming')
      for await (const _ of answer as AsyncIterable<unknown>) break;
    else await answer;
    return undefined;
  } catch (error) {
    return ConnectError.from(error);
  }
}

function namedIn(error: ConnectError | undefined): string {
  return (error?.findDetails(BadRequestSchema) ?? [])
    .flatMap(({ fieldViolations }) => fieldViolations.map(({ field }) => field))
    .join();
}
