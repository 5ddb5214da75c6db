import { create } from '@bufbuild/protobuf';
import { EventService } from '../../src/api/generated/coppice/v1/event_service_pb.ts';
import { Durability } from '../../src/api/generated/coppice/v1/resources_pb.ts';
import {
  CloneRequestSchema,
  GetVolumeRequestSchema,
  VolumeService,
} from '../../src/api/generated/coppice/v1/volume_service_pb.ts';
import { connectCoppice } from '../../src/client/index.ts';
import { GrpcConnection } from './grpc-calls.ts';

/** The clients of a daemon, in a process of their own: told what to do by messages, and answering each with numbers. */

export type LoadTask =
  | {
      readonly task: 'clone';
      readonly prefix: string;
      readonly many: number;
      readonly clients: number;
      readonly durable: boolean;
    }
  | { readonly task: 'read'; readonly many: number }
  | { readonly task: 'remove'; readonly prefix: string; readonly many: number }
  | { readonly task: 'watch'; readonly watchers: number }
  | { readonly task: 'watched' };

/** `milliseconds`: of the whole; `times`: of each call. `events`: how many each watcher has got, and how long they took. */
export interface LoadResult {
  readonly milliseconds: number;
  readonly times?: readonly number[];
  readonly events?: readonly number[];
}

const [socket = ''] = process.argv.slice(2);
const parent = 'pools/bench';
let watched: Array<{ events: number; first: number; last: number }> = [];

process.on('message', (task: LoadTask) => {
  perform(task).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});

async function perform(task: LoadTask): Promise<LoadResult> {
  switch (task.task) {
    case 'clone':
      return await clone(task);
    case 'read':
      return await read(task.many);
    case 'watch':
      return await watch(task.watchers);
    case 'remove':
      return await remove(task);
    case 'watched': {
      const events = watched.map((each) => each.events);
      return { milliseconds: Math.max(0, ...watched.map(({ first, last }) => last - first)), events };
    }
  }
}

async function clone({
  prefix,
  many,
  clients,
  durable,
}: Extract<LoadTask, { task: 'clone' }>): Promise<LoadResult> {
  const connections = Array.from({ length: clients }, () => new GrpcConnection(socket));
  const durability = durable ? Durability.DURABLE : Durability.DEFERRED;
  let next = 0;
  const began = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (next < many) {
        const volumeId = `${prefix}-${next++}`;
        const request = create(CloneRequestSchema, {
          source: `${parent}/volumes/template`,
          volumeId,
          durability,
        });
        await connection.call(VolumeService.method.clone, request);
      }
    }),
  );
  const milliseconds = performance.now() - began;
  for (const connection of connections) connection[Symbol.dispose]();
  return { milliseconds };
}

/** All in one step. */
async function remove({ prefix, many }: Extract<LoadTask, { task: 'remove' }>): Promise<LoadResult> {
  using client = connectCoppice({ socket });
  const names = Array.from({ length: many }, (_, index) => `${parent}/volumes/${prefix}-${index + 1}`);
  const began = performance.now();
  await client.volumes.batchDelete({ parent, names, durability: Durability.DEFERRED });
  return { milliseconds: performance.now() - began };
}

async function read(many: number): Promise<LoadResult> {
  using connection = new GrpcConnection(socket);
  const request = create(GetVolumeRequestSchema, { name: `${parent}/volumes/template` });
  const times: number[] = [];
  const began = performance.now();
  for (let count = 0; count < many; count++) {
    const start = performance.now();
    await connection.call(VolumeService.method.getVolume, request);
    times.push(performance.now() - start);
  }
  return { milliseconds: performance.now() - began, times };
}

/** Answers when all have the present state. */
async function watch(watchers: number): Promise<LoadResult> {
  const began = performance.now();
  watched = Array.from({ length: watchers }, () => ({ events: 0, first: 0, last: 0 }));
  await Promise.all(
    watched.map(async (each) => {
      const client = connectCoppice({ socket });
      const stream = client.events.watchEvents({ parent })[Symbol.asyncIterator]();
      for (;;) {
        const { value, done } = await stream.next();
        if (done) throw new Error(`A watch of ${EventService.typeName} has ended.`);
        if (value.synced) break;
      }
      void (async () => {
        for (let next = await stream.next(); !next.done; next = await stream.next()) {
          if (next.value.events.length === 0) continue;
          each.first ||= performance.now();
          each.events += next.value.events.length;
          each.last = performance.now();
        }
      })().catch(() => {});
    }),
  );
  return { milliseconds: performance.now() - began };
}
