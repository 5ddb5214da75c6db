import { parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { buryHiddenSnapshots } from '../groups.ts';
import { holdVolume } from '../holding.ts';
import { publish, requireFree } from '../publish.ts';

/** Gives a volume or template another name. Its snapshots come along; whoever has the disk open keeps it. */
export function rename(
  context: Context,
  fromText: string,
  toText: string,
): { readonly from: string; readonly name: string } {
  const from = parseVolumeName(fromText);
  const name = parseVolumeName(toText);
  using volume = holdVolume(context, from, 'exclusive');
  requireFree(context, name);
  buryHiddenSnapshots(context, from, volume.held);
  publish(context, volume.held, name);
  return { from, name };
}
