import type { DescService } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { EventService } from '../../api/generated/coppice/v1/event_service_pb.ts';
import { JobService } from '../../api/generated/coppice/v1/job_service_pb.ts';
import { PoolService } from '../../api/generated/coppice/v1/pool_service_pb.ts';
import { VolumeService } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { Health } from '../../api/generated/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../api/generated/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as OldServerReflection } from '../../api/generated/grpc/reflection/v1alpha/reflection_pb.ts';
import type { ServerContext } from '../context.ts';
import type { UnaryMethod } from '../listen/unary.ts';
import { eventService } from './events.ts';
import { healthService } from './health.ts';
import { jobService } from './jobs.ts';
import { poolService } from './pools.ts';
import { reflectionService } from './reflection.ts';
import { volumeService } from './volumes.ts';

export interface Served {
  readonly service: DescService;
  readonly implementation: ServiceImpl<DescService>;
}

/** Everything that the server offers. */
export function servicesOf(context: ServerContext): readonly Served[] {
  const services = [
    VolumeService,
    PoolService,
    JobService,
    EventService,
    Health,
    ServerReflection,
    OldServerReflection,
  ];
  const names = new Set(services.map((service) => service.typeName));
  const reflection = reflectionService(services);
  return [
    served(VolumeService, volumeService(context)),
    served(PoolService, poolService(context)),
    served(JobService, jobService(context)),
    served(EventService, eventService(context)),
    served(Health, healthService(names, context.stopping)),
    served(ServerReflection, reflection),
    // The same messages under an older name.
    served(OldServerReflection, reflection as unknown as ServiceImpl<typeof OldServerReflection>),
  ];
}

/** The methods with one request and one answer, by their path. */
export function unaryMethods(services: readonly Served[]): ReadonlyMap<string, UnaryMethod> {
  const methods = services.flatMap(({ service, implementation }) =>
    service.methods.flatMap((method): Array<[string, UnaryMethod]> => {
      if (method.methodKind !== 'unary') return [];
      const own = implementation[method.localName] as unknown as UnaryMethod['implementation'];
      const unary = method as UnaryMethod['method'];
      return [[`/${service.typeName}/${method.name}`, { method: unary, implementation: own }]];
    }),
  );
  return new Map(methods);
}

/** Each with its implementation, whose types fit here and can't be told apart afterwards. */
function served<S extends DescService>(service: S, implementation: ServiceImpl<S>): Served {
  return { service, implementation: implementation as unknown as ServiceImpl<DescService> };
}
