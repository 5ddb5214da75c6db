import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import {
  type Ancestor,
  payloadIdOf,
  rememberedAncestors,
  type VolumeMetadata,
} from '../../model/metadata.ts';
import {
  formatReference,
  type Name,
  parseReference,
  parseVolumeName,
  type Reference,
} from '../../model/names.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { requireCapability } from '../capabilities.ts';
import type { Context } from '../context.ts';
import { type HeldSource, holdSource, requireDisk } from '../holding.ts';
import { problemsOf, problemsOfSnapshot } from '../problems.ts';
import { publish, requireFree, staging } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';
import type { Created } from './create.ts';

export interface CloneOptions extends Marked {
  /** Bytes; at least the source's size. The same as the source when absent. */
  readonly bytes?: number;
  /** Make it so that it can later be sent incrementally against its source, which a reflink can't. */
  readonly replicable?: boolean;
}

export interface Cloned extends Created {
  readonly method: 'reflink' | 'snapshot';
  /** Only of a directory tree. */
  readonly kind?: 'tree';
  /** What it was cloned from. */
  readonly origin: Ancestor;
  /** What was changed behind Coppice's back in the template or snapshot: one sentence each. */
  readonly warnings?: readonly string[];
}

/** What a clone says of itself from the first moment on, where it is not made for a user to keep. */
export type CloneMarks = Pick<VolumeMetadata, 'keeper' | 'branch' | 'branchOf' | 'settings'>;

/**
 * Makes a writable volume that shares all blocks with a template, a volume or a snapshot. The time does not depend on the size
 * or the fragmentation of the source.
 */
export function clone(
  context: Context,
  sourceText: string,
  nameText: string,
  options: CloneOptions,
  about: CloneMarks = {},
): Cloned {
  const name = parseVolumeName(nameText);
  if (options.replicable) requireCapability(context, 'replicableClones', `clone ${sourceText} to ${name}`);
  const volume = context.turn.source(sourceText, () => {
    const reference = parseReference(sourceText);
    requireSpace(context, `clone ${sourceText} to ${name}`, 0);
    return holdSource(context, reference);
  });
  // What is sealed or a snapshot has no dirty data; a live disk's is written now, so that the calls below find little to do.
  if (volume.metadata.sealed || volume.reference.snapshot)
    return cloneHeld(context, volume, name, options, about);
  try {
    requireFree(context, name);
    context.driver.writeOut(volume.source);
    return cloneHeld(context, volume, name, options, about);
  } finally {
    context.turn.end();
  }
}

function cloneHeld(
  context: Context,
  volume: HeldSource,
  name: Name,
  options: CloneOptions,
  about: CloneMarks,
): Cloned {
  if (options.bytes !== undefined)
    requireDisk(volume, `clone ${formatReference(volume.reference)} to ${name}`, 'leave the size out');
  const wanted = options.bytes === undefined ? undefined : cloneSize(context, volume, options.bytes);
  const mark = requestMark(options);
  return staging(context, (staged) => {
    const id = randomId();
    const { method, bytes, sourceTouched, describesItself } = context.driver.clone(volume.source, staged, {
      bytes: wanted,
      identity: id,
      replicable: options.replicable ?? false,
      knownExtents: volume.metadata.sealed?.extents,
      isMarked: mark.request !== undefined || Object.keys(about).length > 0,
    });
    const warnings = sourceTouched ? changesOf(context, volume) : [];
    const metadata: VolumeMetadata = {
      type: 'volume',
      id,
      kind: volume.metadata.kind,
      created: timestamp(),
      origin: lineageFrom(volume.metadata, volume.reference),
      method,
      ...(method === 'snapshot' && { payloadId: payloadIdOf(volume.metadata) }),
      ...mark,
      ...about,
    };
    if (!describesItself) context.driver.write(staged, metadata);
    publish(context, staged, name);
    const known = describesItself ? context.driver.read(staged) : undefined;
    const published = known?.type === 'volume' ? known : metadata;
    return {
      name,
      id: published.id,
      bytes,
      created: published.created,
      ...(published.kind === 'tree' && { kind: published.kind }),
      method,
      origin: published.origin[0] ?? parentOf(volume.metadata, volume.reference),
      ...(warnings.length > 0 && { warnings }),
      ...(options.bytes !== undefined && bytes !== options.bytes && { roundedFrom: options.bytes }),
    };
  });
}

/** What was changed in a source that never changes. */
function changesOf(context: Context, volume: HeldSource): string[] {
  const { reference } = volume;
  if (reference.snapshot)
    return problemsOfSnapshot(context, volume, formatReference(reference), volume.source);
  if (!volume.metadata.sealed) return [];
  return problemsOf(volume.name, volume.metadata, context.driver.inspect(volume.source));
}

/** The lineage of what is made from a source: the source, then its own ancestors. */
export function lineageFrom(source: VolumeMetadata, reference: Reference): Ancestor[] {
  return [parentOf(source, reference), ...source.origin].slice(0, rememberedAncestors);
}

function parentOf(source: VolumeMetadata, reference: Reference): Ancestor {
  return {
    id: source.id,
    name: reference.volume,
    ...(reference.snapshot && { snapshot: reference.snapshot }),
  };
}

function cloneSize({ driver }: Context, { source: held, reference }: HeldSource, wanted: number): number {
  const source = formatReference(reference);
  const sourceBytes = driver.size(held);
  const bytes = roundSize(checkSize(wanted), driver.sizeUnitOf?.(held) ?? driver.info.sizeUnit);
  if (bytes >= sourceBytes) return bytes;
  throw new CoppiceError(
    'invalid_argument',
    `A clone can't be smaller than its source: ${source} has ${formatSize(sourceBytes)}, and ${formatSize(bytes)} would cut off its end; leave the size out or give a larger one.`,
  );
}
