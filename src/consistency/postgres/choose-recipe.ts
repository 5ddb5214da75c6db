import { CoppiceError } from '../../model/errors.ts';
import { shellWord } from '../../model/shell-word.ts';
import type { Scope } from '../quiescer.ts';
import type { CourseInput } from './course.ts';
import { findPlaces, type Place } from './layout.ts';
import { serverOf } from './open-session.ts';

export type Recipe = 'atomic' | 'checkpoint' | 'backup';

export interface Choice {
  readonly recipe: Recipe;
  /** For the record of the snapshot. */
  readonly why: string;
}

/**
 * The least that gives a copy which can be recovered for certain. A cluster of which all parts are in the snapshot at the same instant
 * starts from it as after a crash; of one that has parts elsewhere the server has to be asked for a backup. That is never called atomic.
 * @throws CoppiceError unsupported when nothing does
 */
export function chooseRecipe(input: CourseInput, places: readonly Place[], isStandby: boolean): Choice {
  const { declaration, directory, scope } = input;
  const apart = partsApart(places, scope);
  const wanted = declaration.recipe;
  if (apart === undefined && wanted !== 'backup') {
    const why =
      places.length === 0 ? 'all of it is in one directory' : 'all of it is snapshotted at one instant';
    return { recipe: wanted === 'checkpoint' ? 'checkpoint' : 'atomic', why };
  }
  if (wanted === 'atomic' || wanted === 'checkpoint') {
    throw new CoppiceError(
      'unsupported',
      `${serverOf(directory)} can't be copied by recipe=${wanted}: ${apart}, so a snapshot would have parts of different times; leave the recipe out, which then asks the server for a backup.`,
    );
  }
  if (isStandby) {
    throw new CoppiceError(
      'unsupported',
      `${serverOf(directory)} is a standby, and a backup of one has its end only in a file that is copied last, which a snapshot can't do: ${apart ?? 'leave recipe=backup out'}${apart ? '; put all of it into the volume, or snapshot the primary' : ''}.`,
    );
  }
  requireCopied(input, places);
  if (!scope.canAmend) {
    throw new CoppiceError(
      'unsupported',
      `${serverOf(directory)} needs a backup${apart ? ` because ${apart}` : ''}, for which WAL and a label are written into the snapshot, and this storage can't do that: put all of it into the volume, or stop the server for the snapshot.`,
    );
  }
  return { recipe: 'backup', why: apart ?? 'it is asked for' };
}

/** Why the parts would be of different times; undefined where they would not. */
export function partsApart(places: readonly Place[], scope: Scope): string | undefined {
  const other = places.find(
    ({ within }) =>
      within === undefined || (within.subject.volume !== scope.subject.volume && !scope.sameInstant),
  );
  if (!other) return undefined;
  const { within } = other;
  const where = within
    ? `in the volume "${within.subject.volume}"`
    : (other.path ?? other.link ?? 'elsewhere');
  return `${other.name} is ${within ? where : `at ${where}`}`;
}

/** The WAL is copied from wherever it is; all else must be in a snapshot. @throws CoppiceError unsupported */
export function requireCopied(input: CourseInput, places: readonly Place[]): void {
  const lost = places.filter(
    ({ name, within, path }) => within === undefined && (name !== 'pg_wal' || path === undefined),
  );
  if (lost.length === 0) return;
  const list = lost.map(({ name, path, link }) => `${name} (${path ?? link ?? 'nowhere'})`).join(', ');
  throw new CoppiceError(
    'unsupported',
    `${serverOf(input.directory)} has parts that no snapshot would have: ${list}; ${remedyFor(input, lost)}.`,
  );
}

/** Where all of it is in volumes of the pool, it is enough to say so. Nobody else's are taken for it by what its owner has linked. */
function remedyFor({ declaration, directory, scope }: CourseInput, lost: readonly Place[]): string {
  const { subject, together, others } = scope;
  const known = findPlaces(directory, { ...scope, together: [...together, ...(others?.() ?? [])] });
  const volumes = known.flatMap(({ within }) => within?.subject.volume ?? []);
  const isKnown = lost.every((each) => known.find(({ name }) => name === each.name)?.within !== undefined);
  if (!isKnown) return 'move them into the volume, or into a volume that is snapshotted together with it';
  const names = [...new Set(volumes)].filter((name) => name !== subject.volume).sort();
  const value = declaration.value.replace(/(^|,)volumes=[^,]*/, '');
  const setting = `quiesce.${declaration.name}=${value},volumes=${names.join('+')}`;
  return `say that it lies in those volumes, too, with "coppice set ${subject.volume} ${shellWord(setting)}", and then each snapshot of ${subject.volume} is taken of them together`;
}
