import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';
import { parseName } from '../../model/names.ts';
import { isScope, type Scope } from './scopes.ts';

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

/** The grants of a file, as they are now. */
export class Grants {
  readonly #file: string;
  #looked = Number.NEGATIVE_INFINITY;
  #version = '';
  #grants: readonly Grant[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  /** @throws CoppiceError when the file can't be read: then nobody has any right */
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
    const status = lstatSync(this.#file, { throwIfNoEntry: false });
    const version = status ? `${status.ino} ${status.size} ${status.mtimeMs} ${status.ctimeMs}` : '';
    if (version !== this.#version) {
      this.#grants = [];
      this.#version = version;
      this.#grants = readGrants(this.#file);
    }
    this.#looked = now;
    return this.#grants;
  }
}

/** @throws CoppiceError permission_denied when others can write the file, damaged when it is none of ours */
export function readGrants(file: string): readonly Grant[] {
  const status = lstatSync(file, { throwIfNoEntry: false });
  if (!status) return [];
  if (!status.isFile() || (status.mode & 0o022) !== 0 || ![0, process.getuid?.()].includes(status.uid))
    throw new CoppiceError(
      'permission_denied',
      `${file} can be written by others than root: whoever can do that could give himself any right. Make it a file of root's with "chown root ${file}; chmod 600 ${file}".`,
    );
  const value = parse(readFileSync(file, 'utf8'));
  if (!Array.isArray(value) || !value.every(isGrant))
    throw new CoppiceError(
      'damaged',
      `${file} is no list of tokens; restore it, or remove it and make new tokens.`,
    );
  return value;
}

export interface GrantRequest {
  readonly name: string;
  readonly scope: Scope;
  readonly kind: Grant['kind'];
  readonly pools?: readonly string[];
  /** ISO 8601, UTC. */
  readonly expires?: string;
}

/** Adds a grant. Returns the token, which is told only now; undefined for a certificate. */
export function addGrant(file: string, request: GrantRequest): string | undefined {
  const name = request.kind === 'token' ? parseName(request.name, 'name of a token') : request.name;
  if (name === '')
    throw new CoppiceError('invalid_argument', 'The common name of a certificate is not empty.');
  const grants = readGrants(file);
  if (grants.some((grant) => grant.name === name && grant.kind === request.kind))
    throw new CoppiceError(
      'already_exists',
      `There is already a ${request.kind} named ${name}; revoke it first.`,
    );
  const token = request.kind === 'token' ? `${prefix}${randomBytes(32).toString('base64url')}` : undefined;
  const created = new Date().toISOString();
  const grant = { ...request, name, created, ...(token !== undefined && { sha256: sha256(token) }) };
  writeGrants(file, [...grants, grant]);
  return token;
}

/** @throws CoppiceError not_found */
export function revokeGrant(file: string, name: string): void {
  const grants = readGrants(file);
  const left = grants.filter((grant) => grant.name !== name);
  if (left.length === grants.length)
    throw new CoppiceError('not_found', `There is no token or certificate named ${name} in ${file}.`);
  writeGrants(file, left);
}

export function isExpired({ expires }: Grant, now: number = Date.now()): boolean {
  return expires !== undefined && Date.parse(expires) <= now;
}

/** In one step, and durably: a crash leaves the old list or the new one. */
function writeGrants(file: string, grants: readonly Grant[]): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  const unfinished = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`;
  const fd = openSync(unfinished, 'wx', 0o600);
  try {
    writeSync(fd, `${JSON.stringify(grants, null, 2)}\n`);
    fsyncSync(fd);
    renameSync(unfinished, file);
  } catch (error) {
    unlinkSync(unfinished);
    throw error;
  } finally {
    closeSync(fd);
  }
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
    (pools === undefined || (Array.isArray(pools) && pools.every((pool) => typeof pool === 'string'))) &&
    typeof created === 'string' &&
    (expires === undefined || (typeof expires === 'string' && Number.isFinite(Date.parse(expires)))) &&
    (kind === 'token' ? typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest) : digest === undefined)
  );
}
