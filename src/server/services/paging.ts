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

export interface Listing<T> {
  /** Of what it is a list: a token of another is none of this. */
  readonly of: string;
  /** Tells items apart, and says in which order they are, the least first. */
  readonly keyOf: (item: T) => string;
  /** The greatest first. */
  readonly isReversed?: boolean;
}

/** A page of a list that is made anew for each: it goes on after the last item of the page before, whatever has come and gone meanwhile. */
export function pageOf<T>(
  items: readonly T[],
  { of, keyOf, isReversed = false }: Listing<T>,
  asked: number,
  token: string,
): { readonly items: T[]; readonly nextPageToken: string } {
  const after = placeIn(of, token);
  const isAfter = (a: string, b: string): boolean => (isReversed ? a < b : a > b);
  const rest = items
    .map((item) => ({ item, key: keyOf(item) }))
    .filter(({ key }) => after === undefined || isAfter(key, after))
    .sort((a, b) => (a.key === b.key ? 0 : isAfter(a.key, b.key) ? 1 : -1));
  const page = rest.slice(0, pageSize(asked));
  const last = page.at(-1);
  return {
    items: page.map(({ item }) => item),
    nextPageToken: last && page.length < rest.length ? encodeToken(`${of}\n${last.key}`) : '',
  };
}

/** @throws ConnectError INVALID_ARGUMENT */
function placeIn(of: string, token: string): string | undefined {
  if (token === '') return undefined;
  const place = decodeToken(token);
  if (!place.startsWith(`${of}\n`)) throw badToken();
  return place.slice(of.length + 1);
}

/** The number in a token, of a list that goes by numbers. @throws ConnectError INVALID_ARGUMENT */
export function numberIn(token: string): number {
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
