import { declaresQuiescers } from '../consistency/declared.ts';
import { declaredVolumes } from '../consistency/declared-volumes.ts';
import { type Blocker, CoppiceError } from '../model/errors.ts';
import type { Name } from '../model/names.ts';
import { formatReference, parseReference, parseVolumeName } from '../model/names.ts';
import type { Settings } from '../model/settings.ts';
import type { Context } from './context.ts';
import { type HeldVolume, holdVolume } from './holding.ts';
import { type Claims, levelOf } from './taking.ts';
import { trustedSettings } from './trusted-settings.ts';
import { volumesOf } from './visible.ts';

/** What a snapshot of some volumes takes with it, because applications of theirs lie in other volumes, too. */
export interface WithParts {
  /** What was asked for first, then the others. */
  readonly references: readonly string[];
  /** The other volumes that each volume has parts in. */
  readonly partsOf: ReadonlyMap<Name, readonly Name[]>;
}

/**
 * Adds the volumes that applications are declared to lie in, under the same names, where the application is brought to rest or is not
 * running: of a weaker snapshot nobody says that an application could be started from it.
 */
export function withParts(context: Context, references: readonly string[], claims: Claims): WithParts {
  const partsOf = new Map<Name, readonly Name[]>();
  const all = [...references];
  const named = new Set(references.map((text) => parseReference(text).volume));
  for (const { volume, ...rest } of references.map((text) => parseReference(text))) {
    const parts = declaredParts(context, volume, claims);
    if (parts.length === 0) continue;
    partsOf.set(volume, parts);
    for (const part of parts) {
      if (named.has(part)) continue;
      named.add(part);
      all.push(formatReference({ ...rest, volume: part }));
    }
  }
  return { references: all, partsOf };
}

/** The volumes that say that an application of theirs lies in this one, too. What is only a disk is nobody's part. */
export function leadsOf(
  context: Context,
  { name, metadata }: Pick<HeldVolume, 'name' | 'metadata'>,
): readonly string[] {
  return metadata.kind === 'tree' ? (declaredLeads(context).get(name) ?? []) : [];
}

/** The same of all volumes that have any. */
export function declaredLeads(context: Context): ReadonlyMap<string, readonly string[]> {
  const leads = new Map<string, string[]>();
  for (const { name: lead, metadata } of volumesOf(context)) {
    if (metadata?.type !== 'volume') continue;
    for (const part of understood(metadata.settings))
      if (part !== lead) leads.set(part, [...(leads.get(part) ?? []), lead]);
  }
  return leads;
}

/** What a volume that is a part can't be done to alone. */
export function partBlockers(name: string, leads: readonly string[]): Blocker[] {
  return leads.map((lead) => ({
    kind: 'volumes',
    what: `${lead} has parts of its database in ${name}`,
    remedy: `do it with ${lead}, or take ${name} out of its setting first ("coppice get ${lead}" shows it)`,
  }));
}

function understood(settings: Settings | undefined): readonly string[] {
  try {
    return declaredVolumes(settings);
  } catch {
    return []; // who uses them is told
  }
}

/** Whether a volume is taken only as a part of what lies in another one, and nobody has to be brought to rest for itself. */
export function isOnlyPart({ name, metadata }: HeldVolume, { partsOf }: WithParts): boolean {
  return !declaresQuiescers(metadata.settings) && [...partsOf.values()].some((parts) => parts.includes(name));
}

function declaredParts(context: Context, name: Name, claims: Claims): readonly Name[] {
  using volume = holdVolume(context, name, 'shared');
  const { settings } = volume.metadata;
  if (!declaresQuiescers(settings)) return [];
  const level = levelOf(volume.metadata, claims);
  if (claims.heldStill !== undefined || (level !== 'application' && level !== 'cold')) return [];
  const parts = declaredVolumes(trustedSettings(context, volume)).map((part) => parseVolumeName(part));
  for (const part of parts) requireTree(context, volume, part);
  return parts.filter((part) => part !== name);
}

/** @throws CoppiceError invalid_argument where the setting is not true any more */
function requireTree(context: Context, { name }: HeldVolume, part: Name): void {
  const metadata = context.driver.peek({ area: 'volumes', name: part });
  if (metadata?.type === 'volume' && metadata.kind === 'tree') return;
  throw new CoppiceError(
    'invalid_argument',
    `The settings of ${name} say that its application lies in the volume ${part}, too, and there is no directory tree of that name; set volumes= anew in its quiesce. settings ("coppice get ${name}" shows them).`,
  );
}
