import type { ApplicationPart } from '../../model/together.ts';
import type { Subject } from '../quiescer.ts';
import type { Place } from './layout.ts';

/** Where the parts of a copy are, for who starts a server on it. */
export function placeDetails(
  places: readonly Place[],
  subject: Subject,
  { areTurned, isWalCopied }: { readonly areTurned: boolean; readonly isWalCopied: boolean },
): Record<string, string> {
  return Object.fromEntries(
    places.map(({ name, path, link, within }) => {
      if (within?.subject.volume === subject.volume)
        return [name, `${areTurned ? 'in' : 'to be turned to'} this volume: ${within.path}`];
      if (name === 'pg_wal' && isWalCopied) return [name, `copied from ${path ?? link ?? 'elsewhere'}`];
      return [
        name,
        within ? `in volume ${within.subject.volume}: ${within.path}` : `at ${path ?? link ?? ''}`,
      ];
    }),
  );
}

/** What lies in other volumes of which snapshots are taken, too. */
export function partsIn(
  places: readonly Place[],
  subject: Subject,
): { readonly parts?: readonly ApplicationPart[] } {
  const parts = places.flatMap(({ name, within }) =>
    within && within.subject.volume !== subject.volume
      ? [{ name, volume: within.subject.volume, path: within.path }]
      : [],
  );
  return parts.length > 0 ? { parts } : {};
}
