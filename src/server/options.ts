import { lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { defaultPoolPath } from '../engine/pools/default-path.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError, didYouMean } from '../model/errors.ts';
import { isName, parseName } from '../model/names.ts';
import { isScope, scopes } from './auth/scopes.ts';
import { passedSockets } from './listen/systemd.ts';
import type { TlsAddress } from './listen/tls.ts';
import { defaultSocket } from './listen/unix.ts';
import { isLogLevel, makeLog } from './log.ts';
import type { ServerOptions } from './server.ts';

/** The flags of `coppice serve`, as they were written. */
export interface ServeFlags {
  readonly pool?: readonly string[];
  readonly socket?: string;
  readonly group?: string;
  readonly socketScope?: string;
  readonly listen?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
  readonly tokens?: string;
  readonly imageDirectory?: readonly string[];
  readonly socketDirectory?: readonly string[];
  readonly hook?: readonly string[];
  readonly state?: string;
  readonly auditLog?: string;
  readonly logLevel?: string;
  readonly install: boolean;
  readonly unitDirectory?: string;
}

/** What the flags mean. @throws CoppiceError invalid_argument, with what to write */
export function readServeFlags(
  flags: ServeFlags,
  environment: Readonly<Record<string, string | undefined>>,
  writeLog: (line: string) => void,
): ServerOptions {
  const { logLevel = 'info', socketScope = 'write' } = flags;
  if (flags.unitDirectory !== undefined && !flags.install)
    throw invalid('--unit-directory is for --install; give that, too.');
  if (!isLogLevel(logLevel)) throw invalid(`--log-level: "${logLevel}" is none of debug, info, warn, error.`);
  if (!isScope(socketScope))
    throw invalid(`--socket-scope: "${socketScope}" is none of ${scopes.join(', ')}.`);
  const descriptors = passedSockets(environment);
  const group = flags.group === undefined ? {} : { group: groupId(flags.group) };
  return {
    pools: readPools(flags.pool ?? [environment['COPPICE_POOL'] || defaultPoolPath]),
    listen: {
      descriptors,
      ...(descriptors.length === 0 && { unix: { path: resolve(flags.socket ?? defaultSocket), ...group } }),
      tls: readTls(flags),
    },
    socketScope,
    ...(flags.tokens !== undefined && { tokenFile: resolve(flags.tokens) }),
    ...(flags.state !== undefined && { stateDirectory: resolve(flags.state) }),
    ...(flags.auditLog !== undefined && { auditLog: resolve(flags.auditLog) }),
    imageDirectories: (flags.imageDirectory ?? []).map((path) => readDirectory('--image-directory', path)),
    socketDirectories: (flags.socketDirectory ?? []).map((path) => readDirectory('--socket-directory', path)),
    hooks: new Map((flags.hook ?? []).map(readHook)),
    log: makeLog(writeLog, logLevel),
  };
}

function readPools(texts: readonly string[]): ReadonlyMap<string, string> {
  const pools = new Map<string, string>();
  for (const text of texts) {
    // A path with "=" in it begins with "/", ".", or a name.
    const [, name = 'default', path = ''] = /^(?:([^=/.][^=/]*)=)?(.*)$/s.exec(text) ?? [];
    if (path === '') throw invalid(`--pool: "${text}" names no path; write NAME=PATH, such as vms=/srv/vms.`);
    if (!isName(name))
      throw invalid(`--pool: "${name}" is no name for a pool; write NAME=PATH, with a name such as vms.`);
    if (pools.has(name))
      throw invalid(`--pool: two pools are called ${name}; give each a name of its own: --pool NAME=PATH.`);
    pools.set(name, path.startsWith('zfs:') ? path : resolve(path));
  }
  return pools;
}

function readTls({ listen, tlsCert, tlsKey, tlsClientCa }: ServeFlags): readonly TlsAddress[] {
  if (listen === undefined) {
    if (tlsCert !== undefined || tlsKey !== undefined || tlsClientCa !== undefined)
      throw invalid('--tls-cert, --tls-key and --tls-client-ca are for --listen HOST:PORT; give that, too.');
    return [];
  }
  const [, six, four, port] = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(listen) ?? [];
  const host = six ?? four;
  if (host === undefined || Number(port) > 65_535)
    throw invalid(`--listen: "${listen}" is not HOST:PORT, such as 0.0.0.0:7443 or [::1]:7443.`);
  if (tlsCert === undefined || tlsKey === undefined)
    throw invalid('The network is served with TLS only: give --tls-cert and --tls-key.');
  return [
    {
      host,
      port: Number(port),
      certificate: resolve(tlsCert),
      key: resolve(tlsKey),
      ...(tlsClientCa !== undefined && { clientAuthority: resolve(tlsClientCa) }),
    },
  ];
}

function readDirectory(flag: string, path: string): string {
  try {
    const real = realpathSync(path);
    if (lstatSync(real).isDirectory()) return real;
  } catch (cause) {
    if (!hasErrno(cause, 'ENOENT', 'ENOTDIR', 'EACCES')) throw cause;
  }
  throw invalid(`${flag}: ${path} is no directory.`);
}

/** A program that root runs: nobody else may be able to put another in its place. */
function readHook(text: string): readonly [string, readonly string[]] {
  const at = text.indexOf('=');
  if (at < 0) throw invalid(`--hook: "${text}" is not NAME=PROGRAM, such as vmm=/usr/local/bin/tell-vmm.`);
  const name = parseName(text.slice(0, Math.max(at, 0)), 'name of a hook');
  const program = text.slice(at + 1);
  if (!program.startsWith('/')) throw invalid(`--hook ${name}: give the absolute path of a program.`);
  requireOwn(program, `the hook ${name}`);
  const status = statSync(program);
  if (!status.isFile() || (status.mode & 0o111) === 0)
    throw invalid(`--hook ${name}: ${program} is no program.`);
  return [name, [program]];
}

/** From the file that every Linux has: groups of a directory service are to be given by number. */
function groupId(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const groups = new Map(
    readFileSync('/etc/group', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .flatMap(([name, , id]) => (name && id ? [[name, Number(id)] as const] : [])),
  );
  const found = groups.get(text);
  if (found !== undefined) return found;
  throw invalid(
    `--group: there is no group ${text} in /etc/group; make it with "groupadd --system ${text}", or give a number.${didYouMean(text, groups.keys())}`,
  );
}

function invalid(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', message);
}
