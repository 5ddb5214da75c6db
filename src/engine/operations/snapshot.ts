import { hasErrno } from '../../linux/libc.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata } from '../../model/metadata.ts';
import { type Name, parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdVolume, requireUnsealed } from '../holding.ts';
import { publishNumbered, staging, timestampName } from '../publish.ts';
import { requireSpace } from '../space.ts';

export interface Snapshotted {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  readonly volume: string;
  readonly name: string;
  readonly id: string;
  readonly consistency: 'sync';
}

/**
 * Takes an immutable snapshot of a volume, which may be in use: what reached the disk before the call is in it, in the order in
 * which it was flushed, as after a power cut. Without a name it gets one from the time.
 */
export function snapshot(context: Context, referenceText: string): Snapshotted {
  const reference = parseReference(referenceText);
  requireSpace(context, `snapshot ${referenceText}`, 0);
  using volume = holdVolume(context, reference.volume, 'shared');
  requireUnsealed(volume, `snapshot ${volume.name}`);
  if (reference.snapshot) requireFreeSnapshot(context, volume, reference.snapshot);
  context.driver.flush(volume.held);
  return staging(context, (staged) => {
    context.driver.snapshot(volume.held, staged);
    const created = new Date();
    const metadata: SnapshotMetadata = {
      type: 'snapshot',
      id: randomId(),
      volumeId: volume.metadata.id,
      created: created.toISOString(),
      consistency: 'sync',
      reason: 'user',
      generation: context.driver.inspect(staged)?.createdIn ?? '0',
    };
    context.driver.write(staged, metadata);
    const name = reference.snapshot
      ? publishAs(context, staged, volume, reference.snapshot)
      : publishNumbered(context, staged, volume.held, timestampName('snap', created));
    return {
      reference: `${volume.name}@${name}`,
      volume: volume.name,
      name,
      id: metadata.id,
      consistency: 'sync',
    };
  });
}

function publishAs(
  context: Context,
  staged: Parameters<Context['driver']['move']>[0],
  volume: HeldVolume,
  name: Name,
): Name {
  try {
    context.driver.move(staged, { area: 'snapshots', volume: volume.held, name });
    return name;
  } catch (error) {
    throw hasErrno(error, 'EEXIST', 'ENOTEMPTY') ? snapshotTaken(volume, name) : error;
  }
}

function requireFreeSnapshot(context: Context, volume: HeldVolume, name: Name): void {
  if (context.driver.exists({ area: 'snapshots', volume: volume.held, name }))
    throw snapshotTaken(volume, name);
}

function snapshotTaken(volume: HeldVolume, name: Name): CoppiceError {
  return new CoppiceError(
    'already_exists',
    `${volume.name} already has a snapshot named ${name}; choose another name.`,
  );
}
