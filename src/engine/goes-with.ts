import type { Blocker } from '../model/errors.ts';
import type { Metadata, SnapshotMetadata } from '../model/metadata.ts';
import { formatReference, type Name, parseReference } from '../model/names.ts';
import type { Context } from './context.ts';
import { membersOfBranches } from './members-of-branch.ts';
import { findPartner } from './partners.ts';

/**
 * What is of no use without what is removed, and goes with it: the clones that the servers of a branch have parts in, and the snapshots
 * of other volumes that were taken because an application lies in those, too.
 */
export function goesWith(context: Context, references: readonly string[]): readonly string[] {
  const volumes = membersOfBranches(context, references);
  const snapshots = references.flatMap((text) => {
    const found = togetherOf(context, text);
    if (!found || found.together.lead !== found.volumeId) return [];
    return found.together.volumes.flatMap((partner) => {
      const snapshot = findPartner(context, partner, found.group);
      return snapshot ? [formatReference(snapshot)] : [];
    });
  });
  return [...volumes, ...snapshots];
}

/** Whether something was found to go with one of these, which may have turned out to stay. */
export function goesWithOneOf(
  metadata: Metadata | undefined,
  doomed: ReadonlyArray<{ readonly metadata: Metadata | undefined }>,
): boolean {
  return doomed.some(({ metadata: other }) => {
    if (metadata?.type === 'volume') return other?.type === 'volume' && other.id === metadata.branchOf;
    if (metadata?.type !== 'snapshot' || other?.type !== 'snapshot') return false;
    return other.group === metadata.group && other.volumeId === metadata.together?.lead;
  });
}

/** Why a snapshot that is only a part must stay, as long as that stays which can't be used without it. */
export function neededBlockers(
  context: Context,
  text: string,
  metadata: Metadata | undefined,
  all: readonly string[],
): Blocker[] {
  if (metadata?.type !== 'snapshot' || !metadata.together || metadata.group === undefined) return [];
  const { together, group, volumeId } = metadata;
  const lead = together.volumes.find((partner) => partner.volumeId === together.lead);
  if (together.lead === volumeId || !lead) return [];
  const found = findPartner(context, lead, group);
  if (!found || all.includes(formatReference(found)) || all.includes(found.volume)) return [];
  const needing = formatReference(found);
  return [
    {
      kind: 'snapshots',
      what: `${needing} can't be used without ${text}, which has parts of its application`,
      remedy: `remove both with "coppice remove ${needing}"`,
    },
  ];
}

interface Found {
  readonly volumeId: string;
  readonly group: string;
  readonly together: NonNullable<SnapshotMetadata['together']>;
}

function togetherOf(context: Context, text: string): Found | undefined {
  const { volume, snapshot } = parseReference(text);
  const metadata = snapshot === undefined ? undefined : peekSnapshot(context, volume, snapshot);
  if (metadata?.type !== 'snapshot') return undefined;
  const { volumeId, group, together } = metadata;
  return together && group !== undefined ? { volumeId, group, together } : undefined;
}

/** Disks have no applications that Coppice knows of. Whoever has the volume is met later, by who locks it. */
function peekSnapshot({ driver, wait }: Context, name: Name, snapshot: Name): Metadata | undefined {
  const place = { area: 'volumes', name } as const;
  const metadata = driver.peek(place);
  if (metadata?.type !== 'volume' || metadata.kind !== 'tree') return undefined;
  const held = driver.hold(place, 'shared', wait);
  if (typeof held === 'string') return undefined;
  using volume = held;
  return driver.peek({ area: 'snapshots', volume, name: snapshot });
}
