import { CoppiceError } from '../model/errors.ts';
import type { SnapshotMetadata } from '../model/metadata.ts';
import { formatReference, type Name, type Reference } from '../model/names.ts';
import type { Partner } from '../model/together.ts';
import type { Context } from './context.ts';
import { holdSnapshot, holdVolume } from './holding.ts';
import { snapshotsOf, volumesOf } from './visible.ts';

type SnapshotReference = Required<Reference>;

/** A snapshot that can't be used alone, with all that it is used with. */
export interface Whole {
  readonly metadata: SnapshotMetadata;
  /** Those of the other volumes; none where all of the application is in one. */
  readonly partners: readonly PartnerSnapshot[];
}

export interface PartnerSnapshot extends SnapshotReference {
  /** What its volume was called when it was taken. */
  readonly was: string;
  readonly volumeId: string;
}

/**
 * Looks for the snapshots that one can't be used without, wherever their volumes are by now.
 * @param action for sentences: `verify db@s`
 * @throws CoppiceError not_found when one is gone; invalid_argument when it is itself only a part
 */
export function wholeOf(context: Context, reference: SnapshotReference, action: string): Whole {
  const { metadata, volumeId } = lookAt(context, reference);
  const { together, group } = metadata;
  if (!together || group === undefined) return { metadata, partners: [] };
  if (together.lead !== volumeId) throw onlyPart(context, reference, metadata, action);
  const partners = together.volumes.map((partner) => {
    const found = findPartner(context, partner, group);
    if (found) return { ...found, was: partner.volume, volumeId: partner.volumeId };
    throw new CoppiceError(
      'not_found',
      `Could not ${action}: it was taken together with a snapshot of ${partner.volume}, in which parts of its application are, and that one is gone.`,
    );
  });
  return { metadata, partners };
}

/** The snapshot of a group that a volume has, under whatever name the volume has now. */
export function findPartner(
  context: Context,
  { volume, volumeId }: Partner,
  group: string,
): SnapshotReference | undefined {
  const name = nameOfVolume(context, volumeId, volume);
  const record =
    name &&
    snapshotsOf(context, name).find(
      ({ metadata }) => metadata?.type === 'snapshot' && metadata.group === group,
    );
  return record && name && { volume: name, snapshot: record.name as Name };
}

/** @param likely what it was called, where that is known */
export function nameOfVolume(context: Context, id: string, likely?: string): Name | undefined {
  const isIt = (name: string): boolean => {
    const metadata = context.driver.peek({ area: 'volumes', name: name as Name });
    return metadata?.type === 'volume' && metadata.id === id;
  };
  if (likely !== undefined && isIt(likely)) return likely as Name;
  return volumesOf(context).find(({ metadata }) => metadata?.type === 'volume' && metadata.id === id)?.name as
    | Name
    | undefined;
}

function lookAt(
  context: Context,
  { volume: name, snapshot }: SnapshotReference,
): { readonly metadata: SnapshotMetadata; readonly volumeId: string } {
  using volume = holdVolume(context, name, 'shared');
  using held = holdSnapshot(context, volume, snapshot, 'shared');
  const metadata = context.driver.read(held);
  if (metadata?.type === 'snapshot') return { metadata, volumeId: volume.metadata.id };
  throw new CoppiceError(
    'damaged',
    `${formatReference({ volume: name, snapshot })} has lost its metadata; "coppice pool check" says more.`,
  );
}

function onlyPart(
  context: Context,
  reference: SnapshotReference,
  { together, group }: SnapshotMetadata,
  action: string,
): CoppiceError {
  const lead = together?.volumes.find(({ volumeId }) => volumeId === together.lead);
  const found = lead && group !== undefined ? findPartner(context, lead, group) : undefined;
  const instead = found
    ? `name ${formatReference(found)} instead, which it goes with`
    : 'and that one is gone';
  return new CoppiceError(
    'invalid_argument',
    `Could not ${action}: ${formatReference(reference)} has only parts of an application of ${lead?.volume ?? 'another volume'}; ${instead}.`,
  );
}
