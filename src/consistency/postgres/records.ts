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
