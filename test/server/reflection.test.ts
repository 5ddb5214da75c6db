import { create, createFileRegistry, type FileRegistry, fromBinary } from '@bufbuild/protobuf';
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HealthCheckResponse_ServingStatus as Status } from '../../src/api/generated/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../src/api/generated/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as OldServerReflection } from '../../src/api/generated/grpc/reflection/v1alpha/reflection_pb.ts';
import { type Daemon, daemonPlace, startDaemon } from '../support/daemon.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** What a tool does that knows nothing but an address: it asks what there is, and calls that. */

let home: TestPool;
let daemon: Daemon;

beforeAll(async () => {
  home = await makeTestPool();
  await home.pool.create('v', { bytes: 4096 });
  daemon = await startDaemon({ p: home.path }, daemonPlace());
  await daemon.said('pool available');
});
afterAll(async () => {
  await daemon.stop();
  await home[Symbol.asyncDispose]();
});

const services = [
  'coppice.v1.EventService',
  'coppice.v1.JobService',
  'coppice.v1.PoolService',
  'coppice.v1.VolumeService',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];

test.each([
  ['v1', ServerReflection],
  ['v1alpha', OldServerReflection],
] as const)('a tool learns everything by %s, and can call it', async (_, service) => {
  const client = createClient(service as typeof ServerReflection, daemon.client.transport);
  async function* questions() {
    yield { messageRequest: { case: 'listServices', value: '' } } as const;
    for (const name of services)
      yield { messageRequest: { case: 'fileContainingSymbol', value: name } } as const;
    yield {
      messageRequest: { case: 'fileContainingSymbol', value: 'coppice.v1.VolumeService.Clone' },
    } as const;
    yield { messageRequest: { case: 'fileByFilename', value: 'no/such/file.proto' } } as const;
    yield {
      messageRequest: { case: 'allExtensionNumbersOfType', value: 'google.protobuf.FieldOptions' },
    } as const;
  }
  const files = new Map<string, FileDescriptorProto>();
  const others: unknown[] = [];
  for await (const { messageResponse } of client.serverReflectionInfo(questions()))
    if (messageResponse.case === 'fileDescriptorResponse')
      for (const bytes of messageResponse.value.fileDescriptorProto) {
        const file = fromBinary(FileDescriptorProtoSchema, bytes);
        files.set(file.name, file);
      }
    else if (messageResponse.case === 'listServicesResponse')
      expect(messageResponse.value.service.map(({ name }) => name).sort()).toEqual(services);
    else others.push(messageResponse);
  expect(others).toMatchObject([
    { case: 'errorResponse', value: { errorCode: Code.NotFound } },
    { case: 'allExtensionNumbersResponse', value: { extensionNumber: [50701] } },
  ]);
  const registry: FileRegistry = createFileRegistry(create(FileDescriptorSetSchema, { file: sorted(files) }));
  const learned = registry.getService('coppice.v1.VolumeService');
  if (!learned) throw new Error('The service was not learned.');
  const dynamic = createClient(learned, daemon.client.transport) as unknown as {
    getVolume(request: { readonly name: string }): Promise<Record<string, unknown>>;
  };
  expect(await dynamic.getVolume({ name: 'pools/p/volumes/v' })).toMatchObject({
    name: 'pools/p/volumes/v',
    sizeBytes: 4096n,
  });
});

test('health tells of each service, at once and until the end', async () => {
  const { health } = daemon.client;
  for (const service of ['', ...services])
    expect((await health.check({ service })).status).toBe(Status.SERVING);
  const unknown = await health
    .check({ service: 'no.such' })
    .catch((error: unknown) => ConnectError.from(error).code);
  expect(unknown).toBe(Code.NotFound);
  const other = await startDaemon({ p: home.path }, daemonPlace());
  const watch = other.client.health.watch({ service: '' })[Symbol.asyncIterator]();
  expect((await watch.next()).value).toMatchObject({ status: Status.SERVING });
  const last = watch.next();
  expect(await other.stop()).toBe(0);
  expect((await last).value).toMatchObject({ status: Status.NOT_SERVING });
});

/** What is imported before what imports it. */
function sorted(files: ReadonlyMap<string, FileDescriptorProto>): FileDescriptorProto[] {
  const all = new Set<FileDescriptorProto>();
  const add = (file: FileDescriptorProto | undefined): void => {
    if (!file || all.has(file)) return;
    for (const name of file.dependency) add(files.get(name));
    all.add(file);
  };
  for (const file of files.values()) add(file);
  return [...all];
}
