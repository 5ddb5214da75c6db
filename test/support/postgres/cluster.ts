import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandAs, runAs } from '../../../src/consistency/postgres/programs.ts';
import { type Row, Session } from '../../../src/consistency/postgres/session.ts';
import type { Scope } from '../../../src/consistency/quiescer.ts';
import type { User } from '../../../src/linux/connect-as.ts';
import type { Bed } from './bed.ts';
import { postgresPrograms } from './programs.ts';

export interface ClusterOptions {
  /** `split`: the WAL and a tablespace "far" are other subvolumes; `linked`: they are beside the data directory, by absolute links. */
  readonly layout?: 'together' | 'split' | 'linked';
  readonly settings?: Readonly<Record<string, string>>;
  /** Its data directory, from the volume; `pg` when absent. */
  readonly below?: string;
}

/** A real cluster with page checksums, that runs. Its superuser gets in by "peer" only, the role "worker" by no more than the socket. */
export interface Cluster extends AsyncDisposable {
  /** The volume. */
  readonly volume: string;
  readonly data: string;
  readonly far: string | undefined;
  readonly wal: string | undefined;
  readonly socketDirectory: string;
  readonly port: number;
  readonly owner: User;
  scope(can?: Partial<Scope>): Scope;
  query(text: string, user?: string): Promise<readonly Row[]>;
  start(): Promise<void>;
  stop(signal?: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void>;
  /** Tells it to end without waiting for that. */
  signal(signal: NodeJS.Signals): void;
  log(): string;
}

export const postgresUser: User = userNamed('postgres');
let count = 0;

export async function makeCluster(
  bed: Pick<Bed, 'scratch' | 'subvolume'>,
  options: ClusterOptions = {},
): Promise<Cluster> {
  const owner = postgresUser;
  const number = ++count;
  const place = (name: string, below: string): { volume: string; path: string } => {
    const volume = bed.subvolume(`${name}${number}`);
    const path = join(volume, below);
    ownDirectory(path, owner);
    return { volume, path };
  };
  const { volume, path: data } = place('volume', options.below ?? 'pg');
  const beside = (below: string): { volume: string; path: string } => {
    ownDirectory(join(volume, below), owner);
    return { volume, path: join(volume, below) };
  };
  const { layout = 'together' } = options;
  const wal = layout === 'split' ? place('wal', 'wal') : layout === 'linked' ? beside('wal') : undefined;
  const far = layout === 'split' ? place('space', 'far') : layout === 'linked' ? beside('far') : undefined;
  const socketDirectory = join(bed.scratch, 'sockets', String(number));
  ownDirectory(socketDirectory, owner);
  const initdb = ['-D', data, '--data-checksums', '--no-sync', '-U', 'postgres', '-A', 'peer', '-E', 'UTF8'];
  await expectRun(owner, 'initdb', [...initdb, '--locale=C', ...(wal ? ['-X', wal.path] : [])]);
  writeFileSync(
    join(data, 'pg_hba.conf'),
    'local all worker trust\nlocal all lesser trust\nlocal all all peer\n',
  );
  const port = await freePort();
  const settings = {
    listen_addresses: '',
    unix_socket_directories: socketDirectory,
    port: String(port),
    autovacuum_naptime: '1s',
    max_wal_size: '512MB',
    lc_messages: 'C',
    ...options.settings,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
  appendFileSync(join(data, 'postgresql.conf'), lines.join(''));

  let server: Running | undefined;
  const query = async (text: string, user = 'postgres'): Promise<readonly Row[]> => {
    const signal = new AbortController().signal;
    await using session = await Session.open(
      {
        at: { socketDirectory },
        port,
        user,
        database: 'postgres',
        as: owner,
        server: 'the cluster',
        password: () => undefined,
      },
      signal,
    );
    return await session.query(text, signal, { what: 'answer' });
  };
  const cluster: Cluster = {
    volume,
    data,
    far: far?.volume,
    wal: wal?.volume,
    socketDirectory,
    port,
    owner,
    scope(can = {}) {
      const subject = { volume: 'db', directory: volume };
      const together = [
        subject,
        ...(layout === 'split' && far ? [{ volume: 'space', directory: far.volume }] : []),
      ];
      return { subject, together, sameInstant: false, canAmend: true, ...can };
    },
    query,
    async start() {
      server = launch(owner, data);
      for (let tries = 0; ; tries++) {
        if (server.child.exitCode !== null) throw new Error(`the cluster has ended: ${server.log()}`);
        const failure = await query('SELECT 1').then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) return;
        if (tries === 1000) throw failure;
        await sleep(20);
      }
    },
    async stop(signal = 'SIGINT') {
      if (server?.child.exitCode === null) server.child.kill(signal);
      await server?.ended;
    },
    signal: (signal) => void server?.child.kill(signal),
    log: () => server?.log() ?? '',
    async [Symbol.asyncDispose]() {
      await cluster.stop('SIGQUIT');
    },
  };
  await cluster.start();
  await query('CREATE ROLE worker LOGIN');
  await query('CREATE ROLE lesser LOGIN');
  await query(`GRANT CREATE ON SCHEMA public TO worker`);
  if (far) {
    await query(`CREATE TABLESPACE far LOCATION '${far.path}'`);
    await query('GRANT CREATE ON TABLESPACE far TO worker');
  }
  return cluster;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  log(): string;
}

function launch(owner: User, data: string): Running {
  const [command, args] = commandAs(owner, join(postgresPrograms(), 'postgres'), ['-D', data]);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/', detached: true });
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-50_000);
  });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  return { child, ended, log: () => text };
}

/** Others may test at the same time, and a port is everybody's. */
async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export function ownDirectory(path: string, { uid, gid }: User): void {
  mkdirSync(path, { recursive: true });
  chownSync(path, uid, gid);
  chmodSync(path, 0o700);
}

async function expectRun(owner: User, name: string, args: readonly string[]): Promise<void> {
  const { code, output, errors } = await runAs(owner, join(postgresPrograms(), name), args);
  if (code !== 0) throw new Error(`${name}: ${errors || output}`);
}

function userNamed(name: string): User {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${name}:`));
  const [, , uid = '0', gid = '0'] = line?.split(':') ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}
