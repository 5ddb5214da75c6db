import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type BranchServer,
  type CoppiceClient,
  connectCoppice,
  ErrorInfoSchema,
  type Job,
  JobState,
  VerificationResult,
} from '../../src/client/index.ts';
import { commandAs } from '../../src/consistency/postgres/programs.ts';
import type { Pool } from '../../src/index.ts';
import { addGrant } from '../../src/server/auth/tokens.ts';
import { daemonPlace, startDaemon } from '../support/daemon.ts';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Cluster, makeCluster, postgresUser } from '../support/postgres/cluster.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { runDirectory } from '../support/run-directory.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'));

/** Databases on copies of snapshots, proven and branched by the server: as jobs, and no more for a caller than he may do. */
describe.skipIf(skipped !== '')(`a volume with a running PostgreSQL${skipped}`, () => {
  const parent = 'pools/vms/volumes/crypt';
  const directory = scratchDirectory('server');
  let home: TestServer;
  let pool: Pool;
  let cluster: Cluster;
  let client: CoppiceClient;
  let writer: CoppiceClient;

  beforeAll(async () => {
    // The server of the database is another user, who has to get there.
    chmodSync(runDirectory(), 0o711);
    const tokens = join(directory, 'tokens.json');
    const { token = '' } = await addGrant(tokens, { name: 'writer', kind: 'token', scope: 'write' });
    home = await startTestServer({ directory });
    pool = home.pools['vms'] as Pool;
    client = connectCoppice({ socket: home.socket });
    writer = connectCoppice({ socket: home.socket, token });
    await pool.create('crypt', { kind: 'tree' });
    const path = await pool.diskPath('crypt');
    cluster = await makeCluster({ scratch: dirname(pool.path), subvolume: () => path } as never);
    await cluster.query('CREATE TABLE t AS SELECT generate_series(1, 42) AS n');
    await client.volumes.updateSettings({ name: parent, set: { 'quiesce.postgres': 'pg' } });
    await client.volumes.snapshot({ parent, snapshotId: 'a' });
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    if (cluster) stopped();
    client?.close();
    writer?.close();
    await home?.[Symbol.asyncDispose]();
  });

  async function ended(started: Promise<Job>): Promise<Job> {
    let last = await started;
    for await (last of client.jobs.watchJob({ name: last.name }));
    return last;
  }

  /** Who is killed leaves the directory of its sockets behind. */
  function withOwnTemporary<T>(spawn: () => T): T {
    const { TMPDIR: usual } = process.env;
    process.env['TMPDIR'] = scratchDirectory('tmp');
    try {
      return spawn();
    } finally {
      if (usual === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = usual;
    }
  }

  async function refusal(call: Promise<unknown>): Promise<string> {
    const error = await call.then(
      () => {
        throw new Error('It did not fail.');
      },
      (reason: unknown) => ConnectError.from(reason),
    );
    return `${Code[error.code]} ${error.findDetails(ErrorInfoSchema)[0]?.reason}`;
  }

  function ask({ socketDirectory, port, user }: BranchServer, statement: string): string {
    const words = ['-h', socketDirectory, '-p', String(port), '-U', user, '-Atc', statement, 'postgres'];
    const [command, args] = commandAs(postgresUser, 'psql', words);
    return spawnSync(command, args, { encoding: 'utf8', cwd: '/' }).stdout.trim();
  }

  test('a snapshot is proven by who may write, and says so afterwards; the copy is gone', async () => {
    const name = `${parent}/snapshots/a`;
    const job = await ended(writer.jobs.verifySnapshot({ name, recoveryTimeout: { seconds: 300n } }));
    expect(job, job.error?.message).toMatchObject({ method: 'VerifySnapshot', state: JobState.SUCCEEDED });
    expect(job.creator).toBe('token:writer');
    const verification = job.result.case === 'verifySnapshot' ? job.result.value.verification : undefined;
    expect(verification?.result).toBe(VerificationResult.PASSED);
    expect(verification?.checks.map((each) => each.name)).toContain('postgres amcheck');
    expect((await client.volumes.getSnapshot({ name })).verification).toEqual(verification);
    expect((await pool.list()).map((each) => each.name)).toEqual(['crypt']);
  });

  test('what an admin asks and is not so is a result, and no failure', async () => {
    const { name } = await client.volumes.snapshot({ parent, snapshotId: 'bad' });
    const statements = ['SELECT count(*) = 43 FROM t'];
    const job = await ended(client.jobs.verifySnapshot({ name, statements }));
    expect(job, job.error?.message).toMatchObject({
      state: JobState.SUCCEEDED,
      result: { value: { snapshot: name, verification: { result: VerificationResult.FAILED } } },
    });
    await client.volumes.deleteSnapshot({ name });
  });

  test('statements and programs of their own are for admins alone', async () => {
    const name = `${parent}/snapshots/a`;
    const jobs = await client.jobs.listJobs({ parent: 'pools/vms' });
    const refused = 'PermissionDenied FIELD_NOT_ALLOWED';
    expect(await refusal(writer.jobs.verifySnapshot({ name, statements: ['SELECT true'] }))).toBe(refused);
    expect(await refusal(writer.jobs.verifySnapshot({ name, programDirectory: '/tmp' }))).toBe(refused);
    const branch = { source: name, volumeId: 'try', programDirectory: '/tmp' };
    expect(await refusal(writer.jobs.branchSnapshot(branch))).toBe(refused);
    for (const seconds of [0n, 86_401n, BigInt(Number.MAX_SAFE_INTEGER)])
      expect(await refusal(writer.jobs.verifySnapshot({ name, recoveryTimeout: { seconds } }))).toBe(
        'InvalidArgument INVALID_ARGUMENT',
      );
    expect(await client.jobs.listJobs({ parent: 'pools/vms' })).toEqual(jobs);
  });

  test('a proof that is cancelled leaves nothing, and says nothing of the snapshot', async () => {
    const { name } = await client.volumes.snapshot({ parent, snapshotId: 'cancelled' });
    const started = await client.jobs.verifySnapshot({ name });
    for await (const { progress } of client.jobs.watchJob({ name: started.name }))
      if (progress?.step === 'verifying') break;
    const cancelled = await client.jobs.cancelJob({ name: started.name });
    expect(cancelled, cancelled.error?.message).toMatchObject({ state: JobState.CANCELLED });
    expect((await pool.list()).map((each) => each.name)).toEqual(['crypt']);
    expect((await client.volumes.getSnapshot({ name })).verification).toBeUndefined();
    await client.volumes.deleteSnapshot({ name });
  });

  test.each(['killed', 'stopped'] as const)(
    'a proof whose server is %s is told as interrupted, and what is left of it goes with the next',
    async (how) => {
      const place = daemonPlace();
      const name = `${parent}/snapshots/a`;
      const proven = (await client.volumes.getSnapshot({ name })).verification;
      const daemon = await withOwnTemporary(() => startDaemon({ vms: pool.path }, place));
      await daemon.said('pool available');
      const started = await daemon.client.jobs.verifySnapshot({ name });
      for await (const { progress } of daemon.client.jobs.watchJob({ name: started.name }))
        if (progress?.step === 'verifying') break;
      if (how === 'killed') await daemon.kill();
      else expect(await daemon.stop()).toBe(0);
      if (how === 'stopped') expect((await pool.list()).map((each) => each.name)).toEqual(['crypt']);
      expect((await client.volumes.getSnapshot({ name })).verification).toEqual(proven);
      await using again = await startDaemon({ vms: pool.path }, place);
      await again.said('pool available');
      const job = await again.client.jobs.getJob({ name: started.name });
      expect(job).toMatchObject({ state: JobState.INTERRUPTED, error: { code: Code.Aborted } });
      const next = await ended(client.jobs.verifySnapshot({ name }));
      expect(next, next.error?.message).toMatchObject({ state: JobState.SUCCEEDED });
      expect((await pool.list()).map((each) => each.name)).toEqual(['crypt']);
    },
  );

  test('a branch has a server of its own, which ends with it; asked for twice, it is one', async () => {
    const request = { source: `${parent}/snapshots/a`, volumeId: 'try', requestId: 'branch-once' };
    const job = await ended(writer.jobs.branchSnapshot(request));
    expect(job, job.error?.message).toMatchObject({ method: 'BranchSnapshot', state: JobState.SUCCEEDED });
    const [server] = job.result.case === 'branchSnapshot' ? job.result.value.servers : [];
    if (!server) throw new Error('There is no server.');
    expect(server).toMatchObject({ name: 'postgres', port: 5432, running: true });
    expect(ask(server, 'SELECT count(*) FROM t')).toBe('42');
    expect((await writer.jobs.branchSnapshot(request)).name).toBe(job.name);
    const name = 'pools/vms/volumes/try';
    expect((await writer.volumes.getVolume({ name })).uid).not.toBe('');
    const { volumes: listed } = await writer.volumes.listVolumes({ parent: 'pools/vms' });
    expect(listed.map((each) => each.name)).toContain(name);
    await writer.volumes.deleteVolume({ name });
    expect(existsSync(server.socketDirectory)).toBe(false);
    expect(ask(server, 'SELECT 1')).toBe('');
  });

  test('a branch need not be started, and what can not be one is the failure of its job', async () => {
    const source = `${parent}/snapshots/a`;
    const job = await ended(
      client.jobs.branchSnapshot({ source, volumeId: 'rest', withoutStart: true, port: 6000 }),
    );
    expect(job.result).toMatchObject({ value: { servers: [{ port: 6000, running: false }] } });
    const again = await ended(client.jobs.branchSnapshot({ source, volumeId: 'rest' }));
    expect(again).toMatchObject({ state: JobState.FAILED, error: { code: Code.AlreadyExists } });
    await client.volumes.deleteVolume({ name: 'pools/vms/volumes/rest' });
    await pool.create('plain', { kind: 'tree' });
    const { name } = await client.volumes.snapshot({ parent: 'pools/vms/volumes/plain', snapshotId: 's' });
    for (const started of [
      client.jobs.verifySnapshot({ name }),
      client.jobs.branchSnapshot({ source: name, volumeId: 'none' }),
    ])
      expect((await ended(started)).error).toMatchObject({ code: Code.InvalidArgument });
    await client.volumes.deleteVolume({ name: 'pools/vms/volumes/plain', withSnapshots: true });
  });

  test('a rollback stops what runs on the volume where it is known how, and starts it again', async () => {
    const name = `${parent}/snapshots/a`;
    await cluster.query('INSERT INTO t VALUES (1)');
    expect(await refusal(writer.volumes.rollback({ name }))).toBe('FailedPrecondition BLOCKED');
    expect(await refusal(writer.volumes.rollback({ name, stop: true }))).toBe(
      'InvalidArgument INVALID_ARGUMENT',
    );
    await client.volumes.updateSettings({ name: parent, set: { 'stop.hook': hook() } });
    const { undo } = await writer.volumes.rollback({ name, stop: true });
    expect(undo).not.toBe('');
    expect((await cluster.query('SELECT count(*)::int AS n FROM t'))[0]?.['n']).toBe(42);
    // What only asks stops nothing.
    const asked = await writer.volumes.rollback({ name: undo, stop: true, validateOnly: true });
    expect(asked.blockers.length).toBeGreaterThan(0);
    expect((await cluster.query('SELECT 1 AS one'))[0]?.['one']).toBe(1);
  });

  test('what is done to one volume of a cluster in several is told with the others', async () => {
    await pool.create('far', { kind: 'tree' });
    const far = join(await pool.diskPath('far'), 'space');
    mkdirSync(far, { mode: 0o700 });
    chownSync(far, postgresUser.uid, postgresUser.gid);
    await cluster.query(`CREATE TABLESPACE far LOCATION '${far}'`);
    await cluster.query('CREATE TABLE remote TABLESPACE far AS SELECT generate_series(1, 42) AS n');
    const settings = { 'quiesce.postgres': 'pg,volumes=far' };
    await client.volumes.updateSettings({ name: parent, set: settings });
    const other = 'pools/vms/volumes/far';
    const listed = async (): Promise<readonly string[]> =>
      (await client.volumes.listSnapshots({ parent: other })).snapshots.map(({ name }) => name);
    const names = async (): Promise<readonly string[]> =>
      (await client.volumes.listVolumes({ parent: 'pools/vms' })).volumes.map(({ name }) => name);
    const taken = await client.volumes.snapshot({ parent, snapshotId: 'both' });
    expect(taken.applicationVolumes).toEqual([other]);
    expect(await listed()).toEqual([`${other}/snapshots/both`]);
    const branched = await ended(
      client.jobs.branchSnapshot({ source: taken.name, volumeId: 'two', withoutStart: true }),
    );
    const [along] = branched.result.case === 'branchSnapshot' ? branched.result.value.withVolumes : [];
    expect(along).toBe('pools/vms/volumes/two-far');
    expect(await names()).toContain(along);
    const { undo, withVolumes } = await client.volumes.rollback({ name: taken.name, stop: true });
    expect(withVolumes).toEqual([other]);
    expect(await listed()).toHaveLength(2);
    await client.volumes.deleteVolume({ name: 'pools/vms/volumes/two' });
    expect(await names()).not.toContain(along);
    await client.volumes.deleteSnapshot({ name: undo });
    expect(await listed()).toEqual([`${other}/snapshots/both`]);
  });

  /** By the hook below there may be another server than the one that was begun with. */
  function stopped(): void {
    const pgCtl = join(postgresPrograms(), 'pg_ctl');
    const words = ['stop', '-m', 'immediate', '-D', cluster.data];
    spawnSync(...commandAs(postgresUser, pgCtl, words), { cwd: '/' });
  }

  function hook(): string {
    const path = join(dirname(pool.path), 'stop-and-start');
    const pgCtl = join(postgresPrograms(), 'pg_ctl');
    const words = ['-D', cluster.data, '-w', '-s', '-l', join(cluster.data, 'log')];
    const [command, args] = commandAs(postgresUser, pgCtl, words);
    writeFileSync(path, `#!/bin/sh\ncd /\nexec ${command} ${args.join(' ')} "$1"\n`);
    chmodSync(path, 0o755);
    return path;
  }
});
