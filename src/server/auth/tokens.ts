import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Descriptor } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { requireOwn } from '../../linux/trusted-path.ts';
import { CoppiceError } from '../../model/errors.ts';
import { isName, parseName } from '../../model/names.ts';
import { isScope, type Scope } from './scopes.ts';
import { changeTokenFile } from './token-file.ts';

/**
 * Who may use the server over the network: tokens, of which only a digest is kept, and names of client certificates. One JSON file,
 * which belongs to root; the server reads it again when it has changed.
 */

export interface Grant {
  readonly name: string;
  readonly kind: 'token' | 'certificate';
  readonly scope: Scope;
  /** Only these; all when absent. */
  readonly pools?: readonly string[];
  /** ISO 8601, UTC. */
  readonly created: string;
  /** ISO 8601, UTC; never when absent. */
  readonly expires?: string;
  /** SHA-256 of the token, in hex. A token has 256 random bits, so that nobody can try them all: it needs no salt and no slow digest. */
  readonly sha256?: string;
}

export const defaultTokenFile = '/etc/coppice/tokens.json';

/** Milliseconds between two looks whether the file has changed. */
const usualLook = 500;

const prefix = 'coppice_';

/** The grants of a file, as they are now. While it can't be used, nobody has any right: `onFailure` is told why, once. */
export class Grants {
  readonly #file: string;
  readonly #onFailure: (failure: unknown) => void;
  #looked = Number.NEGATIVE_INFINITY;
  #version = '';
  #failure = '';
  #grants: readonly Grant[] = [];

  constructor(file: string, onFailure: (failure: unknown) => void) {
    this.#file = file;
    this.#onFailure = onFailure;
  }

  forToken(token: string): Grant | undefined {
    const digest = Buffer.from(sha256(token), 'hex');
    let found: Grant | undefined;
    for (const grant of this.#all()) {
      if (grant.sha256 === undefined) continue;
      if (timingSafeEqual(Buffer.from(grant.sha256, 'hex'), digest)) found = grant;
    }
    return found;
  }

  forCertificate(commonName: string): Grant | undefined {
    return this.#all().find((grant) => grant.kind === 'certificate' && grant.name === commonName);
  }

  #all(): readonly Grant[] {
    const now = performance.now();
    if (now - this.#looked < usualLook) return this.#grants;
    this.#looked = now;
    try {
      const status = lstatSync(this.#file, { throwIfNoEntry: false });
      const version = status
        ? `${status.ino} ${status.size} ${status.mtimeMs} ${status.ctimeMs} ${status.mode}`
        : '';
      // What could not be read is tried again: the reason may lie in a directory above it.
      if (version !== this.#version || this.#failure !== '') this.#grants = readGrants(this.#file);
      this.#version = version;
      this.#failure = '';
    } catch (failure) {
      this.#grants = [];
      const reason = String(failure);
      if (reason !== this.#failure) this.#onFailure(failure);
      this.#failure = reason;
    }
    return this.#grants;
  }
}

/** @throws CoppiceError permission_denied when others can write the file, damaged when it is none of ours */
export function readGrants(file: string): readonly Grant[] {
  using opened = openIfAny(file);
  if (!opened) return [];
  requireOwn(resolve(dirname(file)), 'the list of tokens');
  // Looked at and read by one descriptor: nobody can exchange it in between.
  const status = fstatSync(opened.fd);
  if (!status.isFile()) throw damaged(file);
  if ((status.mode & 0o022) !== 0 || ![0, process.getuid?.()].includes(status.uid))
    throw new CoppiceError(
      'permission_denied',
      `${file} can be written by others than root: whoever can do that could give himself any right. Make it a file of root's with "chown root ${file}; chmod 600 ${file}".`,
    );
  const value = parse(readFileSync(opened.fd, 'utf8'));
  if (!Array.isArray(value) || !value.every(isGrant)) throw damaged(file);
  return value;
}

function openIfAny(file: string): Descriptor | undefined {
  try {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    return new Descriptor(openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    if (hasErrno(error, 'ELOOP', 'ENXIO', 'ENOTDIR')) throw damaged(file);
    throw error;
  }
}

function damaged(file: string): CoppiceError {
  return new CoppiceError(
    'damaged',
    `${file} is no list of tokens; restore it, or remove it and make new tokens.`,
  );
}

export interface GrantRequest {
  readonly name: string;
  readonly scope: Scope;
  readonly kind: Grant['kind'];
  readonly pools?: readonly string[];
  /** ISO 8601, UTC. */
  readonly expires?: string;
}

export interface Granted {
  readonly grant: Grant;
  /** Told only now; absent for a certificate. */
  readonly token?: string;
}

/** @throws CoppiceError already_exists, invalid_argument, busy */
export function addGrant(file: string, request: GrantRequest): Promise<Granted> {
  const name = request.kind === 'token' ? parseName(request.name, 'name of a token') : request.name;
  if (request.kind === 'certificate') requireCommonName(name);
  for (const pool of request.pools ?? []) parseName(pool, 'name of a pool');
  return changeTokenFile(file, () => {
    const grants = readGrants(file);
    if (grants.some((grant) => grant.name === name && grant.kind === request.kind))
      throw new CoppiceError(
        'already_exists',
        `There is already a ${request.kind} named ${name}; revoke it first, or choose another name.`,
      );
    const token = request.kind === 'token' ? `${prefix}${randomBytes(32).toString('base64url')}` : undefined;
    const created = new Date().toISOString();
    const grant = { ...request, name, created, ...(token !== undefined && { sha256: sha256(token) }) };
    return {
      text: textOf([...grants, grant]),
      result: { grant, ...(token !== undefined && { token }) },
    };
  });
}

/** Takes the rights from all that have a name: the token and the certificate. @throws CoppiceError not_found, busy */
export function revokeGrant(file: string, name: string): Promise<readonly Grant[]> {
  return changeTokenFile(file, () => {
    const grants = readGrants(file);
    const revoked = grants.filter((grant) => grant.name === name);
    if (revoked.length === 0)
      throw new CoppiceError('not_found', `There is no token or certificate named ${name} in ${file}.`);
    return { text: textOf(grants.filter((grant) => grant.name !== name)), result: revoked };
  });
}

function textOf(grants: readonly Grant[]): string {
  return `${JSON.stringify(grants, null, 2)}\n`;
}

/** As long as a certificate can have one; without what could forge a line of a log or of a table. */
function requireCommonName(name: string): void {
  if (/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,64}$/u.test(name)) return;
  throw new CoppiceError(
    'invalid_argument',
    'The common name of a certificate has 1 to 64 characters, all of them visible.',
  );
}

export function isExpired({ expires }: Grant, now: number = Date.now()): boolean {
  return expires !== undefined && Date.parse(expires) <= now;
}

function sha256(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isGrant(value: unknown): value is Grant {
  if (typeof value !== 'object' || value === null) return false;
  const { name, kind, scope, pools, created, expires, sha256: digest } = value as Record<string, unknown>;
  return (
    typeof name === 'string' &&
    (kind === 'token' || kind === 'certificate') &&
    isScope(scope) &&
    (pools === undefined || (Array.isArray(pools) && pools.every(isName))) &&
    typeof created === 'string' &&
    (expires === undefined || (typeof expires === 'string' && Number.isFinite(Date.parse(expires)))) &&
    (kind === 'token' ? typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest) : digest === undefined)
  );
}
