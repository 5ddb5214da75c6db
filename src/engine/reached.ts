import { CoppiceError } from '../model/errors.ts';
import { type ApplicationState, type Consistency, consistencies } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Together } from '../model/together.ts';
import type { HeldVolume } from './holding.ts';
import { isOnlyPart, type WithParts } from './parts.ts';
import { type Claims, levelOf, needsRest, purposeOf, type Said } from './taking.ts';

type States = ReadonlyArray<ApplicationState & { readonly volume: string }>;

/**
 * What snapshots that were taken together say of themselves.
 * @param states of the applications that held still for them
 * @throws CoppiceError io_error where one is weaker than what was wanted, and must not be
 */
export function reached(
  volumes: readonly HeldVolume[],
  states: States,
  parts: WithParts,
  claims: Claims,
): ReadonlyMap<Name, Said> {
  const purpose = purposeOf(claims);
  const levels = new Map(volumes.map((volume) => [volume.name, levelReached(volume, states, parts, claims)]));
  const together = togetherIn(volumes, states, parts, (name) => levels.get(name) ?? 'none');
  return new Map(
    volumes.map(({ name }) => {
      const own = together.get(name);
      const said: Said = {
        consistency: levels.get(name) ?? 'sync',
        applications: statesOf(states, name),
        ...(own && { together: own }),
        ...purpose,
      };
      return [name, said];
    }),
  );
}

function statesOf(states: States, name: Name): ApplicationState[] {
  return states.flatMap(({ volume, ...state }) => (volume === name ? [state] : []));
}

function levelReached(volume: HeldVolume, states: States, parts: WithParts, claims: Claims): Consistency {
  const { name, metadata } = volume;
  const wanted = levelOf(metadata, claims);
  // Alone it is no more than what was written; that what it is a part of has held still, that one's own snapshot says.
  if (isOnlyPart(volume, parts)) return needsRest(wanted, claims) ? 'sync' : wanted;
  const level = weakest(statesOf(states, name)) ?? (needsRest(wanted, claims) ? 'sync' : wanted);
  if (rank(level) >= rank(wanted) || claims.allowWeaker) return level;
  throw new CoppiceError(
    'io_error',
    `The snapshot of ${name} would only be "${level}", and "${wanted}" was wanted; allow a weaker one with --allow-weaker, or see why by "coppice snapshot ${name} --consistency ${level}".`,
  );
}

/** Which of them one application needs together. What two need is said to be of the first. */
function togetherIn(
  volumes: readonly HeldVolume[],
  states: States,
  { partsOf }: WithParts,
  levelOf: (name: Name) => Consistency,
): ReadonlyMap<Name, Together> {
  const found = new Map<Name, Together>();
  for (const lead of volumes) {
    if (rank(levelOf(lead.name)) < rank('application')) continue;
    const known = statesOf(states, lead.name).flatMap(({ parts = [] }) => parts.map(({ volume }) => volume));
    const names: readonly string[] = [...(partsOf.get(lead.name) ?? []), ...known];
    const all = [lead, ...volumes.filter(({ name }) => name !== lead.name && names.includes(name))];
    if (all.length === 1) continue;
    for (const { name } of all) {
      const others = all.filter((each) => each.name !== name);
      if (found.has(name)) continue;
      found.set(name, {
        lead: lead.metadata.id,
        volumes: others.map((each) => ({ volumeId: each.metadata.id, volume: each.name })),
      });
    }
  }
  return found;
}

/** To stop also what nobody is asked takes nothing away from what databases were asked for. */
function weakest(all: readonly ApplicationState[]): Consistency | undefined {
  const asked = all.filter(({ level }) => level !== 'freeze');
  const applications = asked.length > 0 ? asked : all;
  return applications.map(({ level }) => level).sort((a, b) => rank(a) - rank(b))[0];
}

function rank(level: Consistency): number {
  return consistencies.indexOf(level);
}
