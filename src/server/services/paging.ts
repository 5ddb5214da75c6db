import { badRequest } from '../failures.ts';

/** Lists in pages. A token is where the last page ended, and nothing a client should read. */

const usual = 100;
const most = 1000;

export function pageSize(asked: number): number {
  return asked === 0 ? usual : Math.min(asked, most);
}

export function encodeToken(place: string): string {
  return Buffer.from(place).toString('base64url');
}

/** @throws ConnectError INVALID_ARGUMENT */
export function decodeToken(token: string): string {
  const place = Buffer.from(token, 'base64url').toString('utf8');
  if (token !== '' && encodeToken(place) !== token) throw badToken();
  return place;
}

/** A page by number of a list that is made anew for each. */
export function pageOf<T>(
  items: readonly T[],
  asked: number,
  token: string,
): { readonly items: T[]; readonly nextPageToken: string } {
  const from = placeIn(token);
  const size = pageSize(asked);
  const next = from + size;
  return {
    items: items.slice(from, next),
    nextPageToken: next < items.length ? encodeToken(String(next)) : '',
  };
}

/** @throws ConnectError INVALID_ARGUMENT */
export function placeIn(token: string): number {
  const digits = decodeToken(token);
  if (digits === '') return 0;
  if (!/^\d{1,12}$/.test(digits)) throw badToken();
  return Number(digits);
}

export function badToken(): Error {
  return badRequest([
    { field: 'page_token', description: 'is none that this method has given; leave it out to begin anew' },
  ]);
}
