import { blockedBy } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { buryHiddenSnapshots } from '../groups.ts';
import { holdVolume } from '../holding.ts';
import { leadsOf, partBlockers } from '../parts.ts';
import { requireOwn } from '../placing/own.ts';
import { followRename } from '../placing/place.ts';
import type { BootFiles } from '../pools/boot-entry.ts';
import { publish, requireFree } from '../publish.ts';
import { requireUnguarded } from './guard-records.ts';

export interface Renamed {
  readonly from: string;
  readonly name: string;
  /** What does not lead to the new name yet; absent where nothing does. */
  readonly warnings?: readonly string[];
}

/** Gives a volume or template another name. Its snapshots come along; whoever has the disk open keeps it. */
export function rename(context: Context, fromText: string, toText: string, files: BootFiles = {}): Renamed {
  const from = parseVolumeName(fromText);
  const name = parseVolumeName(toText);
  using volume = holdVolume(context, from, 'exclusive');
  requireUnguarded(volume, `rename ${from}`);
  const leads = leadsOf(context, volume);
  // Links of the application lead to where it is.
  if (leads.length > 0) throw blockedBy(`Could not rename ${from}`, partBlockers(from, leads));
  requireFree(context, name);
  buryHiddenSnapshots(context, from, volume.held);
  const { at } = volume.metadata;
  if (!at) {
    publish(context, volume.held, name);
    return { from, name };
  }
  requireOwn(context, volume);
  const before = context.driver.mountAt ? '' : context.driver.path(volume.held);
  publish(context, volume.held, name);
  const renamed = { held: volume.held, metadata: volume.metadata, name };
  return { from, name, ...followed(() => followRename({ context, volume: renamed, at, files }, before)) };
}

/** The name is given by then: what did not follow it is told, and found by `pool check`. */
function followed(follow: () => void): Pick<Renamed, 'warnings'> {
  try {
    follow();
    return {};
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      warnings: [`It has its new name, but where it is mounted or linked does not lead there yet: ${why}`],
    };
  }
}
