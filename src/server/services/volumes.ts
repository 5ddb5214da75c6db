import type { ServiceImpl } from '@connectrpc/connect';
import type { VolumeService } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import type { ServerContext } from '../context.ts';
import { changingVolumes } from './changing-volumes.ts';
import { comparing } from './comparing.ts';
import { growing } from './growing.ts';
import { holding } from './holding.ts';
import { looking } from './looking.ts';
import { removing } from './removing.ts';
import { settings } from './settings.ts';
import { snapshotting } from './snapshotting.ts';

/** Volumes, templates and their snapshots. */
export function volumeService(context: ServerContext): ServiceImpl<typeof VolumeService> {
  return {
    ...looking(context),
    ...changingVolumes(context),
    ...growing(context),
    ...settings(context),
    ...snapshotting(context),
    ...holding(context),
    ...comparing(context),
    ...removing(context),
  };
}
