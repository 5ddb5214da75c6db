import type { Quiescer, Subject } from '../consistency/quiescer.ts';
import { declaredQuiescers, makeQuiescer } from '../consistency/quiescers.ts';
import type { Member as Resting } from '../consistency/rest.ts';
import { stopper } from '../consistency/stop.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Consistency } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import { type HeldVolume, holdVolume } from './holding.ts';
import { isOnlyPart, type WithParts } from './parts.ts';
import { levelOf, needsRest, type WantedLevel } from './taking.ts';
import { trustedSettings } from './trusted-settings.ts';
import { volumesOf } from './visible.ts';

/** The applications that are to be brought to rest for snapshots of these volumes, in the order of the volumes. */
export async function applicationsOf(
  context: Context,
  volumes: readonly HeldVolume[],
  parts: WithParts,
  wanted: WantedLevel,
): Promise<Resting[]> {
  const { driver } = context;
  const subjects = volumes.map((volume) => subjectOf(context, volume));
  const resting: Resting[] = [];
  for (const [index, volume] of volumes.entries()) {
    const level = levelOf(volume.metadata, wanted);
    const scope = {
      subject: subjects[index] as Subject,
      together: subjects,
      others: () => otherTrees(context, volumes),
      sameInstant: volumes.length === 1 || driver.snapshotTogether !== undefined,
      canAmend: driver.snapshotTogether === undefined,
    };
    if (!needsRest(level, wanted) || isOnlyPart(volume, parts)) continue;
    for (const quiescer of await quiescersFor(context, volume, level)) resting.push({ quiescer, scope });
  }
  return resting;
}

function subjectOf({ driver }: Context, { name, metadata, held }: HeldVolume): Subject {
  return { volume: name, ...(metadata.kind === 'tree' && { directory: driver.path(held) }) };
}

/** For a sentence that says what could be done: what can't be looked at now is left out. */
function otherTrees(context: Context, volumes: readonly HeldVolume[]): readonly Subject[] {
  return volumesOf(context).flatMap(({ name, metadata }) => {
    const isTree = metadata?.type === 'volume' && metadata.kind === 'tree';
    if (!isTree || volumes.some((volume) => volume.name === name)) return [];
    try {
      using volume = holdVolume({ ...context, wait: false }, name as Name, 'shared');
      return context.driver.mountedAt ? [] : [subjectOf(context, volume)];
    } catch (error) {
      if (error instanceof CoppiceError) return [];
      throw error;
    }
  });
}

/** @throws CoppiceError invalid_argument when nothing is declared that could reach the level */
async function quiescersFor(
  context: Context,
  volume: HeldVolume,
  level: Consistency,
): Promise<readonly Quiescer[]> {
  const settings = trustedSettings(context, volume);
  if (level === 'cold') return [stopper(volume.name, settings, 'snapshot')];
  const declared = await declaredQuiescers(settings);
  if (level === 'freeze') {
    const freezers = declared.filter((quiescer) => quiescer.level === 'freeze');
    return freezers.length > 0 ? freezers : [await makeQuiescer('freeze', 'holders')];
  }
  if (declared.length > 0) return declared;
  throw new CoppiceError(
    'invalid_argument',
    `No application is declared for ${volume.name}, so no snapshot of it can be consistent for one; declare it, as with "coppice set ${volume.name} quiesce.postgres=DIRECTORY", or ask for --consistency freeze, which stops whatever has files of the volume open.`,
  );
}
