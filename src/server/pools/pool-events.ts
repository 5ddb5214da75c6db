import { create } from '@bufbuild/protobuf';
import { type Event, EventSchema, EventType } from '../../api/generated/coppice/v1/event_service_pb.ts';
import type { Job } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { PoolState } from '../../api/generated/coppice/v1/resources_pb.ts';
import { poolName } from '../../api/resource-names.ts';
import { toSnapshot, toVolume } from '../convert.ts';
import { EventLog } from './event-log.ts';
import type { Change } from './pool-index.ts';

/** The events of one pool, as the contract has them. */
export class PoolEvents {
  readonly log: EventLog<Event> = new EventLog();
  readonly #pool: string;

  constructor(pool: string) {
    this.#pool = pool;
  }

  changed(change: Change): void {
    const type = eventTypes[change.type];
    const resource =
      'volume' in change ? volumeResource(this.#pool, change) : snapshotResource(this.#pool, change);
    this.log.append(create(EventSchema, { type, resource }));
  }

  jobChanged(job: Job, type: EventType): void {
    this.log.append(create(EventSchema, { type, resource: { case: 'job', value: job } }));
  }

  poolChanged(isAvailable: boolean, unavailableReason: string): void {
    const state = isAvailable ? PoolState.AVAILABLE : PoolState.UNAVAILABLE;
    const value = { name: poolName(this.#pool), state, unavailableReason };
    this.log.append(
      create(EventSchema, { type: EventType.CHANGED, resource: { case: 'pool', value } as never }),
    );
  }
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
