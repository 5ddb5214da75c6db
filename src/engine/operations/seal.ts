import type { Held } from '../../drivers/driver.ts';
import { randomId } from '../../linux/random.ts';
import { payloadIdOf, type VolumeMetadata } from '../../model/metadata.ts';
import { type Name, parseReference, parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdSource } from '../holding.ts';
import { publish, requireFree, staging } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';
import { lineageFrom } from './clone.ts';

/** Of a template that is made. */
export interface SealOptions extends Marked {}

export interface Sealed {
  readonly name: string;
  readonly id: string;
  readonly bytes: number;
  readonly extents: number;
}

/** Makes a template from the present state of a volume or from a snapshot. The source stays as it is. */
export function seal(
  context: Context,
  sourceText: string,
  nameText: string,
  options: SealOptions = {},
): Sealed {
  const reference = parseReference(sourceText);
  const name = parseVolumeName(nameText);
  const mark = requestMark(options);
  requireFree(context, name);
  requireSpace(context, `seal ${sourceText} as ${name}`, 0);
  using volume = holdSource(context, reference);
  return sealDisk(context, volume.source, name, {
    id: randomId(),
    kind: volume.metadata.kind,
    origin: lineageFrom(volume.metadata, reference),
    method: 'snapshot',
    payloadId: payloadIdOf(volume.metadata),
    ...mark,
  });
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
