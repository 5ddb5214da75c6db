import type { Held } from '../drivers/driver.ts';
import type { VolumeMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import { publish, staging } from './publish.ts';
import { timestamp } from './timestamp.ts';

export interface Sealed {
  readonly name: string;
  readonly id: string;
  readonly bytes: number;
  readonly extents: number;
}

/**
 * Publishes the present state of a disk as a template. What is published is a read-only copy of it: a flag set on the disk itself
 * would leave those who have the disk open able to write.
 */
export function sealDisk(
  context: Context,
  source: Held,
  name: Name,
  about: Pick<VolumeMetadata, 'id' | 'kind' | 'origin' | 'method' | 'payloadId' | 'adopted' | 'request'>,
): Sealed {
  context.driver.writeOut(source);
  return staging(context, (staged) => {
    context.driver.snapshot(source, staged);
    const extents = context.driver.countExtents(staged);
    const now = timestamp();
    context.driver.write(staged, {
      type: 'volume',
      created: now,
      ...about,
      sealed: { at: now, extents, generation: context.driver.inspect(staged)?.changedIn ?? '0' },
    });
    publish(context, staged, name);
    return { name, id: about.id, bytes: context.driver.size(staged), extents };
  });
}
