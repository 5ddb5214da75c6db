import { isIP } from 'node:net';
import { isName } from '../../model/names.ts';
import { invalidDeclaration, parseDeclaration, pathInVolume, secondsOf } from '../declaration.ts';

/** How a copy is made: `checkpoint` is `atomic` with less to recover; `auto` is `atomic` where that is possible, else `backup`. */
const recipes = ['auto', 'atomic', 'checkpoint', 'backup'] as const;

export interface PostgresDeclaration {
  readonly name: string;
  /** All of it as it was set. */
  readonly value: string;
  /** The data directory, from the directory of the volume. */
  readonly directory: string;
  /** The directory of the socket; that which the server tells when absent. */
  readonly socket?: string;
  /** This machine, by TCP. */
  readonly host?: string;
  readonly port?: number;
  readonly user: string;
  readonly database: string;
  /** Where passwords are, in the format of PostgreSQL. */
  readonly passfile?: string;
  readonly recipe: (typeof recipes)[number];
  /** Other volumes that parts of the cluster lie in: snapshots of them are taken with those of its own. */
  readonly volumes: readonly string[];
  /** Milliseconds for what the server has to do before and after the snapshot. */
  readonly timeout?: number;
}

/** @throws CoppiceError invalid_argument */
export function parsePostgres(name: string, value: string): PostgresDeclaration {
  // Looked for before anything could repeat it in a message.
  if (/(^|,)\s*(pg)?pass(word|wd)?\s*=|:\/\//i.test(value)) {
    throw invalidDeclaration(
      name,
      'a password does not belong into a setting, which anybody may read who may read the pool; write it into a file and name that by passfile=PATH, or let the server know users by "peer"',
    );
  }
  const declaration = parseDeclaration(name, value, keys);
  const { fields } = declaration;
  const socket = absolute(name, 'socket', fields['socket']);
  const passfile = absolute(name, 'passfile', fields['passfile']);
  const host = local(name, fields['host']);
  if (socket !== undefined && host !== undefined)
    throw invalidDeclaration(name, 'it has both socket= and host=, and one is enough');
  const port = portOf(name, fields['port']);
  const timeout = secondsOf(declaration, 'timeout');
  const user = plain(name, 'user', fields['user']) ?? 'postgres';
  return {
    name,
    value,
    directory: pathInVolume(declaration),
    user,
    database: plain(name, 'database', fields['database']) ?? 'postgres',
    recipe: recipeOf(name, fields['recipe']),
    volumes: volumesOf(name, fields['volumes']),
    ...(socket !== undefined && { socket }),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(passfile !== undefined && { passfile }),
    ...(timeout !== undefined && { timeout }),
  };
}

const keys = ['socket', 'host', 'port', 'user', 'database', 'passfile', 'recipe', 'volumes', 'timeout'];

function recipeOf(name: string, text: string | undefined): PostgresDeclaration['recipe'] {
  if (text === undefined) return 'auto';
  const recipe = recipes.find((each) => each === text);
  if (recipe) return recipe;
  throw invalidDeclaration(name, `there is no recipe "${text}", but ${recipes.join(', ')}`);
}

function volumesOf(name: string, text: string | undefined): readonly string[] {
  const volumes = [...new Set(text?.split('+') ?? [])];
  const wrong = volumes.find((each) => !isName(each));
  if (wrong === undefined) return volumes;
  throw invalidDeclaration(
    name,
    `"${wrong}" is no name of a volume; several are written as volumes=wal+space`,
  );
}

function portOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536) return Number(text);
  throw invalidDeclaration(name, `"${text}" is no port`);
}

function absolute(name: string, key: string, path: string | undefined): string | undefined {
  if (path === undefined || path.startsWith('/')) return path;
  throw invalidDeclaration(name, `${key}=${path} must begin with "/"`);
}

/** A database on another machine does not have its files in a volume of this one. */
function local(name: string, host: string | undefined): string | undefined {
  const isLoopback = host === 'localhost' || host === '::1' || /^127\./.test(host ?? '127.');
  if (host === undefined || (isLoopback && (host === 'localhost' || isIP(host) > 0))) return host;
  throw invalidDeclaration(
    name,
    `host=${host} is not this machine (localhost, 127.0.0.1 or ::1), on which the server of a volume runs`,
  );
}

/** PostgreSQL's own limit of names is 63 bytes. */
function plain(name: string, key: string, text: string | undefined): string | undefined {
  if (text === undefined || text.length <= 63) return text;
  throw invalidDeclaration(name, `${key}=${text} is longer than the 63 characters of a name in PostgreSQL`);
}
