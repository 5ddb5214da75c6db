import { CoppiceError } from '../../model/errors.ts';
import { parseName, parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdVolume, requireUnsealed } from '../holding.ts';
import { publishNumbered, publishSnapshot, requireFreeSnapshot, staging } from '../publish.ts';
import { requireSpace } from '../space.ts';
import {
  type Claims,
  checkClaims,
  describeSnapshot,
  generatedName,
  levelOf,
  needsRest,
  purposeOf,
  requireStill,
  type Said,
  type Snapshotted,
  summarize,
  takeAtOnce,
} from '../taking.ts';

export interface SnapshotOptions extends Claims {
  /** For what is given as a volume, without a name of its own. */
  readonly name?: string;
}

/**
 * Takes an immutable snapshot of a volume, which may be in use: what reached the disk before the call is in it, in the order in
 * which it was flushed, as after a power cut. Without a name it gets one from the time. Where an application has to be brought to rest
 * for it, nothing is done, and nothing returned: that is for `snapshotAtRest`, which takes time of its own.
 */
export function snapshot(
  context: Context,
  referenceText: string,
  options: SnapshotOptions = {},
): Snapshotted | undefined {
  checkClaims(options);
  requireStill(options);
  const reference = parseReference(withName([referenceText], options)[0] ?? '');
  requireSpace(context, `snapshot ${referenceText}`, 0);
  using volume = holdVolume(context, reference.volume, 'shared');
  requireUnsealed(volume, `snapshot ${volume.name}`);
  const { snapshot: name } = reference;
  const level = levelOf(volume.metadata, options);
  if (needsRest(level, options)) return undefined;
  const said: Said = { consistency: level, ...purposeOf(options) };
  const take = context.driver.snapshotTogether;
  if (take) {
    if (level !== 'none') context.driver.writeOut(volume.held);
    return takeAtOnce(context, take, [{ volume, name, said }], options)[0] as Snapshotted;
  }
  if (name) requireFreeSnapshot(context, volume, name);
  if (level !== 'none') context.driver.writeOut(volume.held);
  return staging(context, (staged) => {
    context.driver.snapshot(volume.held, staged);
    const created = new Date();
    const metadata = describeSnapshot(context, staged, volume, created, said);
    // Nobody has seen it yet: a claim that is not true is never there, not even if we die now.
    requireStill(options);
    const generated = generatedName(said, created);
    if (name) publishSnapshot(context, staged, volume, name);
    const published = name ?? publishNumbered(context, staged, volume.held, generated);
    return summarize(volume, published, metadata);
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
