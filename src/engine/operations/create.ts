import { randomId } from '../../linux/random.ts';
import type { VolumeMetadata } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import { checkSize, roundSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import { publish, requireFree, staging } from '../publish.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';

export interface CreateOptions {
  /** Bytes; rounded up to 4 KiB. */
  readonly bytes: number;
}

export interface Created {
  readonly name: string;
  readonly id: string;
  readonly bytes: number;
  /** The size that was asked for, where it had to be rounded up. */
  readonly roundedFrom?: number;
}

/** Makes an empty volume. It takes no space until something is written to it. */
export function create(context: Context, nameText: string, options: CreateOptions): Created {
  const name = parseVolumeName(nameText);
  const bytes = roundSize(checkSize(options.bytes));
  requireFree(context, name);
  requireSpace(context, `create ${name}`, 0);
  return staging(context, (staged) => {
    const id = randomId();
    context.driver.create(staged, bytes, id);
    const metadata: VolumeMetadata = {
      type: 'volume',
      id,
      kind: 'block',
      created: timestamp(),
      origin: [],
      method: 'create',
    };
    context.driver.write(staged, metadata);
    publish(context, staged, name);
    return { name, id, bytes, ...(bytes !== options.bytes && { roundedFrom: options.bytes }) };
  });
}
