import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  type Event,
  EventSchema,
  type EventService,
  EventType,
  type WatchEventsResponse,
  WatchEventsResponseSchema,
} from '../../api/generated/coppice/v1/event_service_pb.ts';
import { eventsOf, type ServerContext, servedPool } from '../context.ts';
import { snapshotResource, volumeResource, withoutResult } from '../pools/pool-events.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import { poolIn } from './naming.ts';
import { stateOf } from './pools.ts';

/** The most events in one message; of the present state, for which many may ask at once, fewer, so that they take less memory. */
const mostEvents = 500;
const mostInitial = 100;

/** Milliseconds of silence after which the server says that it lives. */
const longestSilence = 30_000;

/** What changes. A reader is nothing but a place in the log: one who is slow, or gone, holds nothing else. */
export function eventService(context: ServerContext): ServiceImpl<typeof EventService> {
  return {
    async *watchEvents({ parent, version }, { signal: gone }) {
      const pool = poolIn(parent);
      const served = servedPool(context, pool);
      const log = eventsOf(context, pool);
      const signal = AbortSignal.any([gone, context.stopping]);
      let place = version === '' ? undefined : log.placeOf(version);
      let isResync = version !== '' && place === undefined;
      while (!signal.aborted) {
        if (place === undefined) {
          if (isResync) yield create(WatchEventsResponseSchema, { resync: true });
          if (served.isAvailable) await served.indexed();
          place = log.next;
          yield* presentState(context, served, log.versionOf(place));
        }
        const events = log.read(place, mostEvents);
        if (!events) {
          // It was so slow that what it has not read is forgotten.
          place = undefined;
          isResync = true;
          continue;
        }
        place += events.length;
        if (events.length > 0) yield response(events, log.versionOf(place));
        else {
          await log.waitFor(place, longestSilence, signal);
          if (place === log.next && !signal.aborted) yield response([], log.versionOf(place));
        }
      }
    },
  };
}

/**
 * Everything that is there. What changes while this goes on is among it or not, and comes once more afterwards: it is read from a place
 * in the log before it.
 */
function* presentState(
  context: ServerContext,
  served: ServedPool,
  version: string,
): Generator<WatchEventsResponse> {
  yield response([initial({ case: 'pool', value: stateOf(served) })], '');
  let events: Event[] = [];
  const add = function* (event: Event): Generator<WatchEventsResponse> {
    events.push(event);
    if (events.length < mostInitial) return;
    yield response(events, '');
    events = [];
  };
  for (const job of context.jobs.list(served.id))
    yield* add(initial({ case: 'job', value: withoutResult(job) }));
  for (let last = ''; ; ) {
    const entries = served.index.after(last, mostInitial);
    last = entries.at(-1)?.volume.name ?? '';
    for (const { volume, snapshots } of entries) {
      yield* add(initial(volumeResource(served.id, { type: 'added', volume })));
      for (const snapshot of snapshots)
        yield* add(initial(snapshotResource(served.id, { type: 'added', snapshot })));
    }
    if (entries.length < mostInitial) break;
  }
  if (events.length > 0) yield response(events, '');
  yield create(WatchEventsResponseSchema, { version, synced: true });
}

function initial(resource: Event['resource']): Event {
  return create(EventSchema, { type: EventType.ADDED, initial: true, resource });
}

function response(events: Event[], version: string): WatchEventsResponse {
  return create(WatchEventsResponseSchema, { events, version });
}
