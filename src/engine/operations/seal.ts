import { randomId } from '../../linux/random.ts';
import { payloadIdOf } from '../../model/metadata.ts';
import { parseReference, parseVolumeName } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdSource } from '../holding.ts';
import { requireFree } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { type Sealed, sealDisk } from '../seal-disk.ts';
import { requireSpace } from '../space.ts';
import { lineageFrom } from './clone.ts';

/** Of a template that is made. */
export interface SealOptions extends Marked {}

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
