import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { VolumeMetadata } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import type { Context } from '../context.ts';
import { publish, requireFree, staging } from '../publish.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';

export interface CreateOptions {
  /** Bytes; rounded up to 4 KiB, on zfs to 16 KiB. */
  readonly bytes: number;
  /** The size of the blocks that the disk is kept in, in bytes, where the pool lets it be chosen. */
  readonly blockBytes?: number;
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
  const bytes = roundSize(checkSize(options.bytes), context.driver.info.sizeUnit);
  requireBlockSize(context, name, options.blockBytes);
  requireFree(context, name);
  requireSpace(context, `create ${name}`, 0);
  return staging(context, (staged) => {
    const id = randomId();
    context.driver.create(staged, bytes, id, options.blockBytes);
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

/** @throws CoppiceError unsupported, invalid_argument */
function requireBlockSize(context: Context, name: string, blockBytes: number | undefined): void {
  if (blockBytes === undefined) return;
  const { blockSizes, name: driver } = context.driver.info;
  if (!blockSizes) {
    throw new CoppiceError(
      'unsupported',
      `Could not create ${name}: on ${driver} a disk has no block size of its own; leave it out.`,
    );
  }
  if (blockSizes.includes(blockBytes)) return;
  const sizes = [...blockSizes].sort((a, b) => a - b).map(formatSize);
  throw new CoppiceError(
    'invalid_argument',
    `Could not create ${name}: ${formatSize(blockBytes)} is no block size; choose one of ${sizes.join(', ')}.`,
  );
}
