import { restoreParts } from '../../consistency/postgres/restore-parts.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import { formatReference, type Name } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdVolume } from '../holding.ts';
import type { PartnerSnapshot } from '../partners.ts';
import { type CloneMarks, clone } from './clone.ts';
import { path } from './list.ts';

/** Copies of the volumes that parts of an application lie in. */
export interface PartCopies {
  readonly names: readonly Name[];
  /** The directory of each copy, by what its volume was called when the snapshot was taken. */
  readonly volumes: Readonly<Record<string, string>>;
  /** The directories under which those volumes are known, in which nothing must be changed by who uses the copies. */
  readonly formerlyOf: Readonly<Record<string, readonly string[]>>;
}

/** Clones each, under the name that it is given. What was made when one fails is for the caller to remove. */
export function clonePartners(
  context: Context,
  partners: readonly PartnerSnapshot[],
  nameOf: (partner: PartnerSnapshot) => Name,
  marks: CloneMarks,
): PartCopies {
  const copies = partners.map((partner) => {
    const { volume, snapshot, was } = partner;
    const name = nameOf(partner);
    clone(context, formatReference({ volume, snapshot }), name, {}, marks);
    context.turn.end();
    return { name, was, copy: path(context, name), known: knownDirectories(context, volume) };
  });
  return {
    names: copies.map(({ name }) => name),
    volumes: Object.fromEntries(copies.map(({ was, copy }) => [was, copy])),
    formerlyOf: Object.fromEntries(copies.map(({ was, known }) => [was, known])),
  };
}

/** Where a volume is, and where else on the host it shall be. */
export function knownDirectories(context: Context, name: Name): readonly string[] {
  using volume = holdVolume(context, name, 'shared');
  const { at } = volume.metadata;
  return [context.driver.path(volume.held), ...(at ? [at.path] : [])];
}

/**
 * Puts together a copy of a volume with those of the others: what its applications had in them is found there.
 * @param volumes where the copies are, by the names that the volumes had when the snapshots were taken
 * @param shown the directories under which they will be found, where those are others
 */
export async function assemble(
  copy: string,
  applications: readonly ApplicationState[],
  volumes: Readonly<Record<string, string>>,
  shown: Readonly<Record<string, string>> = volumes,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  for (const { parts = [], details } of applications) {
    const copies = parts.flatMap(({ name, path, volume }) => {
      const [here, there] = [volumes[volume], shown[volume]];
      return here === undefined || there === undefined ? [] : [{ name, path, copy: here, shown: there }];
    });
    if (copies.length > 0) await restoreParts(copy, details['directory'] ?? '.', copies, signal);
  }
}
