import type { ServiceImpl } from '@connectrpc/connect';
import { Code } from '@connectrpc/connect';
import { VolumeSchema } from '../../api/generated/coppice/v1/resources_pb.ts';
import type {
  UpdateSettingsRequest,
  VolumeService,
} from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { SettingChanges } from '../../engine/operations/settings.ts';
import { type Caller, mayDoEverything } from '../auth/caller.ts';
import { callerOf, once, poolFor, type ServerContext, servedPool } from '../context.ts';
import { aboutField, badRequest, refused } from '../failures.ts';
import { durabilityField, shown } from './changing-volumes.ts';
import { poolIn, volumeIn } from './naming.ts';

/** How volumes are to be treated from now on. */
export function settings(context: ServerContext): Pick<ServiceImpl<typeof VolumeService>, 'updateSettings'> {
  return {
    updateSettings(request, handler) {
      const volume = volumeIn(request.name);
      const served = servedPool(context, poolIn(request.name));
      const changes = changesOf(request);
      requireMayChange(callerOf(handler), Object.keys(changes));
      return aboutField('set', () =>
        once(context, handler, request, {
          response: VolumeSchema,
          // To set the same again does no harm.
          find: async () => undefined,
          async run({ done }) {
            const options = durabilityField(request.durability);
            await served.change([volume], () => poolFor(served, handler).set(volume, changes, options));
            done();
            return shown(served, volume);
          },
        }),
      );
    },
  };
}

/** @throws ConnectError INVALID_ARGUMENT */
function changesOf({ set, unset }: UpdateSettingsRequest): SettingChanges {
  const both = unset.find((name) => Object.hasOwn(set, name));
  if (both !== undefined)
    throw badRequest([{ field: 'unset', description: `has ${JSON.stringify(both)}, which is also set` }]);
  const changes = [...Object.entries(set), ...unset.map((name) => [name, null] as const)];
  if (changes.length === 0)
    throw badRequest([{ field: 'set', description: 'must be given, where nothing is to be unset' }]);
  return Object.fromEntries(changes);
}

/**
 * The settings by which the server does nothing but take, prove and remove snapshots, in ways that others have declared. By every other
 * one it does something on its host as root which its caller may not do: `quiesce.hook`, `stop.hook` and `verify.program` run a
 * program; `verify.sql` can have a database run one; `stop.unit` and `quiesce.freeze` stop any service and any process; and the
 * declarations of databases name sockets to connect to, and files with passwords to send there. Whoever takes such a setting away
 * changes what an operator relies on. So what is not listed here, also what is added one day, is for those who may do everything.
 */
function isForEveryWriter(name: string): boolean {
  return name === 'consistency' || name.startsWith('policy.');
}

/** @throws ConnectError PERMISSION_DENIED */
function requireMayChange(caller: Caller, names: readonly string[]): void {
  const wanting = mayDoEverything(caller) ? undefined : names.find((name) => !isForEveryWriter(name));
  if (wanting === undefined) return;
  throw refused(
    Code.PermissionDenied,
    'SETTING_NOT_ALLOWED',
    `${caller.principal} may only change the settings consistency and policy.*: by ${JSON.stringify(wanting.slice(0, 80))} the server could do on its host what is for an admin of all pools.`,
  );
}
