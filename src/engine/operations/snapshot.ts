import type { Held } from '../../drivers/driver.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata } from '../../model/metadata.ts';
import { type Name, parseName, parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdVolume, requireUnsealed } from '../holding.ts';
import { publishNumbered, publishSnapshot, requireFreeSnapshot, staging, timestampName } from '../publish.ts';
import { requireSpace } from '../space.ts';

export interface SnapshotOptions {
  /** For what is given as a volume, without a name of its own. */
  readonly name?: string;
}

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
export function snapshot(
  context: Context,
  referenceText: string,
  options: SnapshotOptions = {},
): Snapshotted {
  const reference = parseReference(withName([referenceText], options)[0] ?? '');
  requireSpace(context, `snapshot ${referenceText}`, 0);
  using volume = holdVolume(context, reference.volume, 'shared');
  requireUnsealed(volume, `snapshot ${volume.name}`);
  if (reference.snapshot) requireFreeSnapshot(context, volume, reference.snapshot);
  context.driver.writeOut(volume.held);
  return staging(context, (staged) => {
    context.driver.snapshot(volume.held, staged);
    const created = new Date();
    const id = describeSnapshot(context, staged, volume, created);
    const generated = timestampName('snap', created);
    const name = reference.snapshot ?? publishNumbered(context, staged, volume.held, generated);
    if (reference.snapshot) publishSnapshot(context, staged, volume, reference.snapshot);
    return summarize(volume, name, id);
  });
}

/** Gives the volumes among the references the name. @throws CoppiceError invalid_argument when there is none among them */
export function withName(references: readonly string[], { name }: SnapshotOptions): readonly string[] {
  if (name === undefined) return references;
  const checked = parseName(name, 'snapshot name');
  if (references.every((reference) => reference.includes('@'))) {
    throw new CoppiceError(
      'invalid_argument',
      `The name ${checked} is for volumes without one, and ${references.join(', ')} leaves none without; leave it out.`,
    );
  }
  return references.map((reference) => (reference.includes('@') ? reference : `${reference}@${checked}`));
}

/** Writes the metadata of a snapshot that a user has asked for. Returns its id. */
export function describeSnapshot(
  context: Context,
  staged: Held,
  volume: HeldVolume,
  created: Date,
  group?: string,
): string {
  const generation = context.driver.inspect(staged)?.createdIn ?? '0';
  const metadata = snapshotMetadata(volume, created, { generation, ...(group !== undefined && { group }) });
  context.driver.write(staged, metadata);
  return metadata.id;
}

export function snapshotMetadata(
  volume: HeldVolume,
  created: Date,
  more: Partial<SnapshotMetadata>,
): SnapshotMetadata {
  return {
    type: 'snapshot',
    id: randomId(),
    volumeId: volume.metadata.id,
    created: created.toISOString(),
    consistency: 'sync',
    reason: 'user',
    generation: '0',
    ...more,
  };
}

export function summarize(volume: HeldVolume, name: Name, id: string): Snapshotted {
  return { reference: `${volume.name}@${name}`, volume: volume.name, name, id, consistency: 'sync' };
}
