import { create } from '@bufbuild/protobuf';
import { type Event, EventSchema, EventType } from '../../api/generated/coppice/v1/event_service_pb.ts';
import { type Job, JobSchema } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { PoolSchema, PoolState } from '../../api/generated/coppice/v1/resources_pb.ts';
import { poolName } from '../../api/resource-names.ts';
import { toVolume } from '../convert.ts';
import { toSnapshot } from '../convert-snapshot.ts';
import { EventLog } from './event-log.ts';
import type { Change } from './pool-index.ts';

/** What has happened, as it was noted: an event of the contract is only made of it when somebody reads it. */
interface Noted {
  readonly what: Change | Event;
  /** Made once for all who read it. */
  event?: Event;
}

/** The events of one pool, as the contract has them. */
export class PoolEvents {
  readonly #log = new EventLog<Noted>();
  readonly #pool: string;

  constructor(pool: string) {
    this.#pool = pool;
  }

  /** The place of the next one. */
  get next(): number {
    return this.#log.next;
  }

  changed(what: Change): void {
    this.#log.append({ what });
  }

  jobChanged(job: Job, type: EventType): void {
    this.#log.append({
      what: create(EventSchema, { type, resource: { case: 'job', value: withoutResult(job) } }),
    });
  }

  poolChanged(isAvailable: boolean, unavailableReason: string): void {
    const value = create(PoolSchema, {
      name: poolName(this.#pool),
      state: isAvailable ? PoolState.AVAILABLE : PoolState.UNAVAILABLE,
      unavailableReason,
    });
    this.#log.append({
      what: create(EventSchema, { type: EventType.CHANGED, resource: { case: 'pool', value } }),
    });
  }

  /** Nobody knows what has happened to the pool while it was away. */
  restart(): void {
    this.#log.restart();
  }

  /** Up to so many events from a place on; undefined when they are not kept any more. */
  read(place: number, most: number): Event[] | undefined {
    return this.#log.read(place, most)?.map((noted) => {
      noted.event ??= '$typeName' in noted.what ? noted.what : eventOf(this.#pool, noted.what);
      return noted.event;
    });
  }

  /** Resolves when there is something at a place, when the time is over, or when the signal fires. */
  waitFor(place: number, milliseconds: number, signal: AbortSignal): Promise<void> {
    return this.#log.waitFor(place, milliseconds, signal);
  }

  /** A place as readers keep it. */
  versionOf(place: number): string {
    return this.#log.versionOf(place);
  }

  /** The place of a version; undefined when it is of another run, or too old. */
  placeOf(version: string): number | undefined {
    return this.#log.placeOf(version);
  }
}

/** Results may be large, and are for those who ask for the job. */
export function withoutResult({ $typeName, $unknown, result, ...job }: Job): Job {
  return result.case === undefined ? { $typeName, result, ...job } : create(JobSchema, job);
}

function eventOf(pool: string, change: Change): Event {
  const resource = 'volume' in change ? volumeResource(pool, change) : snapshotResource(pool, change);
  return create(EventSchema, { type: eventTypes[change.type], resource });
}

const eventTypes = {
  added: EventType.ADDED,
  changed: EventType.CHANGED,
  removed: EventType.REMOVED,
} as const;

export function volumeResource(
  pool: string,
  { volume }: Extract<Change, { readonly volume: unknown }>,
): Event['resource'] {
  return { case: 'volume', value: toVolume(pool, volume) };
}

export function snapshotResource(
  pool: string,
  { snapshot }: Extract<Change, { readonly snapshot: unknown }>,
): Event['resource'] {
  return { case: 'snapshot', value: toSnapshot(pool, snapshot) };
}
