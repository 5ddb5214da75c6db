import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endServers } from '../../src/consistency/postgres/end-servers.ts';
import { commandAs } from '../../src/consistency/postgres/programs.ts';
import type { SnapshotSummary } from '../../src/index.ts';
import { coppice, type Ran } from '../e2e/command.ts';
import { remark } from '../support/inside-pool.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Cluster, makeCluster, postgresUser } from '../support/postgres/cluster.ts';
import { contains, money } from '../support/postgres/judge.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { startWorkload } from '../support/postgres/workload.ts';
import { runDirectory } from '../support/run-directory.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'), join(postgresPrograms(), 'pgbench'));

interface Branch {
  readonly with: readonly string[];
  readonly servers: ReadonlyArray<{ readonly socketDirectory: string; readonly port: number }>;
}

/** A cluster with its data in `db`, its WAL in `wal` and a tablespace in `far`: all that a user does with it, by the built command. */
describe.skipIf(skipped !== '')(`a PostgreSQL in several volumes${skipped}`, () => {
  let home: TestPool;
  let cluster: Cluster;
  let far: string;
  let wal: string;
  let acknowledged: readonly number[] = [];

  const run = (...words: string[]): Ran => coppice(home.path, ...words);
  const done = (...words: string[]): string => {
    const { code, stdout, stderr } = run(...words);
    expect(code, `${words.join(' ')}: ${stderr}`).toBe(0);
    return stdout;
  };
  const json = (...words: string[]): unknown => JSON.parse(done(...words, '--json'));
  const names = async (): Promise<string[]> => (await home.pool.list()).map(({ name }) => name);
  const marked = async (): Promise<unknown> =>
    (await cluster.query('SELECT count(*)::int AS n FROM marks'))[0]?.['n'];
  const mark = (): Promise<unknown> => cluster.query('INSERT INTO marks VALUES (1)');
  const all = (): string[] => [
    money,
    ...['near', 'far'].map((table) => contains(table, acknowledged)),
    'SELECT NOT EXISTS (SELECT n FROM near EXCEPT SELECT n FROM far)',
  ];
  const snapshotOf = async (volume: string, name: string): Promise<SnapshotSummary> =>
    (await home.pool.listSnapshots(volume)).find((each) => each.name === name) as SnapshotSummary;
  const linksOf = (data: string): string[] =>
    ['pg_wal', ...readdirSync(join(data, 'pg_tblspc')).map((name) => join('pg_tblspc', name))].map((name) =>
      readlinkSync(join(data, name)),
    );

  beforeAll(async () => {
    // The server is another user, who has to get there.
    chmodSync(runDirectory(), 0o711);
    home = await makeTestPool();
    const paths: Record<string, string> = {};
    for (const [kind, name] of Object.entries({ volume: 'db', wal: 'wal', space: 'far' })) {
      await home.pool.create(name, { kind: 'tree' });
      paths[kind] = await home.pool.diskPath(name);
    }
    const bed = {
      scratch: home.scratch,
      subvolume: (name: string) => paths[name.replace(/\d+$/, '')] ?? '',
    };
    cluster = await makeCluster(bed, { layout: 'split' });
    [far, wal] = [join(paths['space'] ?? '', 'far'), join(paths['wal'] ?? '', 'wal')];
    await cluster.query('CREATE TABLE marks (n int) TABLESPACE far');
    writeHook();
    done('set', 'db', 'quiesce.postgres=pg', `stop.hook=${hook()}`);
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    // By the hook below there may be another server than the one that was begun with.
    if (cluster) endServers(cluster.volume, 'pg');
    await home?.[Symbol.asyncDispose]();
  });

  function hook(): string {
    return join(home.scratch, 'stop-and-start');
  }

  function writeHook(): void {
    const program = join(postgresPrograms(), 'pg_ctl');
    const words = ['-D', cluster.data, '-w', '-s', '-l', join(cluster.data, 'log')];
    const [command, args] = commandAs(postgresUser, program, words);
    writeFileSync(hook(), `#!/bin/sh\ncd /\nexec ${command} ${args.join(' ')} "$1"\n`);
    chmodSync(hook(), 0o755);
  }

  test('what no snapshot would have is refused, with the command that makes it good', async () => {
    const { code, stderr } = run('snapshot', 'db@none');
    expect(code).not.toBe(0);
    const [, setting = ''] = /coppice set db '([^']+)'/.exec(stderr) ?? [];
    expect(setting, stderr).toBe('quiesce.postgres=pg,volumes=far+wal');
    expect(await home.pool.listSnapshots()).toEqual([]);
    done('set', 'db', setting);
    expect(run('set', 'db', 'quiesce.postgres=pg,volumes=a/b').stderr).toContain('volumes=wal+space');
  });

  test('naming one volume takes all, while the server commits', async () => {
    await using workload = await startWorkload(cluster, 1);
    await workload.goOn(50);
    acknowledged = workload.acknowledged();
    expect(done('snapshot', 'db@s')).toMatch(/Took snapshot db@s, with far@s, wal@s/);
    await workload.goOn(50);
    await workload.stop();
    const [db, space, log] = await Promise.all(['db', 'far', 'wal'].map((name) => snapshotOf(name, 's')));
    expect(db).toMatchObject({
      consistency: 'application',
      applications: [{ details: { recipe: 'backup', why: expect.stringContaining('volume') } }],
    });
    expect([space?.group, log?.group]).toEqual([db?.group, db?.group]);
    expect(db?.together?.volumes.map(({ volume }) => volume)).toEqual(['far', 'wal']);
    expect(space?.together?.lead).toBe(db?.together?.lead);
    expect(space?.consistency).toBe('sync');
    expect(await names()).toEqual(['db', 'far', 'wal']);
  });

  test('it is proven on copies of all of them, which are gone afterwards', async () => {
    const words = all().flatMap((statement) => ['--sql', statement]);
    const [proven] = json('verify', 'db@s', ...words) as Array<{
      readonly checks: ReadonlyArray<{ readonly name: string; readonly result: string }>;
    }>;
    expect(proven?.checks.map(({ name, result }) => `${name} ${result}`)).toEqual([
      'postgres starts passed',
      'postgres amcheck passed',
      'postgres checksums passed',
      'postgres statements passed',
    ]);
    for (const volume of ['db', 'far', 'wal'])
      expect((await snapshotOf(volume, 's')).verified?.result).toBe('passed');
    expect(await names()).toEqual(['db', 'far', 'wal']);
    expect(run('verify', 'far@s').stderr).toContain('name db@s instead');
  });

  test('a branch is of all of them, and reaches none of the live ones', async () => {
    await mark();
    const branch = json('branch', 'db@s', 'try') as Branch;
    expect(branch.with).toEqual(['try-far', 'try-wal']);
    const copy = join(await home.pool.diskPath('try'), 'pg');
    const roots = await Promise.all(
      branch.with.map(async (name) => realpathSync(await home.pool.diskPath(name))),
    );
    for (const link of linksOf(copy))
      expect(
        roots.some((root) => realpathSync(link).startsWith(`${root}/`)),
        link,
      ).toBe(true);
    const before = filesIn(far);
    expect(ask(branch, 'SELECT count(*) FROM marks')).toBe('0');
    expect(ask(branch, 'INSERT INTO marks SELECT generate_series(1, 10000); CHECKPOINT')).toBe('');
    expect(ask(branch, 'SELECT count(*) FROM marks')).toBe('10000');
    expect(filesIn(far)).toEqual(before);
    expect(await marked()).toBe(1);
    expect(done('snapshot', 'try@s')).toContain('with try-far@s, try-wal@s');
    const refused = run('remove', 'try-far', '--with-snapshots');
    expect(refused.stderr).toContain('the branch try has parts of its database in try-far');
    done('remove', 'try', '--with-snapshots');
    expect(await names()).toEqual(['db', 'far', 'wal']);
  });

  test('a rollback puts back all of them, and the server that starts has what the snapshot had', async () => {
    const links = linksOf(cluster.data);
    expect(run('rollback', 'db@s').code).toBe(5);
    expect(run('rollback', 'far@s').stderr).toContain('name db@s instead');
    expect(json('rollback', 'db@s', '--dry-run')).toMatchObject({
      with: [{ volume: 'far' }, { volume: 'wal' }],
    });
    expect(await marked()).toBe(1);
    const { undo = '', with: others } = json('rollback', 'db@s', '--stop') as {
      readonly undo?: string;
      readonly with: ReadonlyArray<{ readonly volume: string }>;
    };
    expect(others.map(({ volume }) => volume)).toEqual(['far', 'wal']);
    expect(await marked()).toBe(0);
    for (const statement of all())
      expect(Object.values((await cluster.query(statement))[0] ?? {})).toEqual([true]);
    expect(linksOf(cluster.data)).toEqual(links);
    expect(readdirSync(wal).filter((name) => /^[0-9A-F]{24}$/.test(name))).not.toEqual([]);
    expect(lstatSync(join(cluster.data, 'pg_wal')).isSymbolicLink()).toBe(true);

    done('rollback', undo, '--stop');
    expect(await marked()).toBe(1);
    expect(linksOf(cluster.data)).toEqual(links);
  });

  test('a change that fails is undone in all of them', async () => {
    const psql = [
      ...psqlWords(cluster.socketDirectory, cluster.port),
      '-qc',
      'DELETE FROM marks',
      'postgres',
    ];
    const [command, args] = commandAs(postgresUser, 'psql', psql);
    const failed = run('guard', 'db', '--check', '/bin/false', '--', command, ...args);
    expect(failed.stderr).toContain('it is back at db@guard-');
    expect(await marked()).toBe(1);
  });

  test('a snapshot of all while the server is stopped needs no more than to be put back', async () => {
    expect(json('snapshot', 'db@cold', '--consistency', 'cold')).toMatchObject({
      consistency: 'cold',
      with: ['far@cold', 'wal@cold'],
    });
    await mark();
    expect(json('verify', 'db@cold', '--sql', 'SELECT count(*) = 1 FROM marks')).toMatchObject([
      { result: 'passed' },
    ]);
    done('rollback', 'db@cold', '--stop');
    expect(await marked()).toBe(1);
  });

  test('one that is missing is told, and none is removed as long as another needs it', async () => {
    done('snapshot', 'db@t');
    const refused = run('remove', 'far@t');
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain('coppice remove db@t');
    const other = (await snapshotOf('far', 's')).group ?? '';
    const mine = (await snapshotOf('far', 't')).group ?? '';
    await remark(home.path, 'far@t', (metadata) => ({ ...metadata, group: other }));
    for (const words of [
      ['verify', 'db@t'],
      ['branch', 'db@t', 'try'],
      ['rollback', 'db@t', '--stop'],
    ])
      expect(run(...words).stderr, words.join(' ')).toContain('a snapshot of far, in which parts');
    expect(await home.pool.check()).toMatchObject([
      { subject: 'db@t', message: expect.stringContaining("can't be used any more") },
    ]);
    expect(await names()).toEqual(['db', 'far', 'wal']);
    expect(await marked()).toBe(1);
    await remark(home.path, 'far@t', (metadata) => ({ ...metadata, group: mine }));
    expect(run('set', 'db', 'quiesce.postgres=pg,volumes=fra').stderr).toContain(
      'names fra, and there is no',
    );
    expect(run('branch', 'db', 'try').stderr).toContain('which only a snapshot has all of');
    expect(run('rollback', 'far@t', '--stop').stderr).toContain('db has parts of its database in far');
    expect(run('usage').stderr).toContain('directory trees (');
    // What db lies in, too, can't be taken from under it.
    done('snapshot', 'far@own');
    for (const words of [
      ['remove', 'far', '--with-snapshots'],
      ['rename', 'far', 'near'],
      ['rollback', 'far@own'],
      ['guard', 'far', '--', '/bin/false'],
    ]) {
      const { code, stderr } = run(...words);
      expect([code, stderr], words.join(' ')).toEqual([
        5,
        expect.stringContaining('db has parts of its database in far'),
      ]);
    }
    done('remove', 'far@own');
    expect(await home.pool.check()).toEqual([]);
    expect(json('remove', 'db@t')).toMatchObject({ removed: ['db@t', 'far@t', 'wal@t'] });
  });

  test('a policy takes and removes them together', async () => {
    done('set', 'db', 'policy.last=1', 'policy.schedule=hourly');
    done('policy', 'apply');
    const [first] = (await home.pool.listSnapshots('far')).filter(({ reason }) => reason === 'policy');
    expect(first?.together?.lead).toBe((await snapshotOf('db', first?.name ?? '')).together?.lead);
    const created = new Date(Date.now() - 24 * 3600 * 1000).toISOString();
    for (const volume of ['db', 'far', 'wal'])
      await remark(home.path, `${volume}@${first?.name}`, (metadata) => ({ ...metadata, created }));
    const told = done('policy', 'apply');
    for (const volume of ['db', 'far', 'wal']) {
      const left = (await home.pool.listSnapshots(volume)).filter(({ reason }) => reason === 'policy');
      expect(left, `${volume}: ${told}`).toHaveLength(1);
      expect(left[0]?.name).not.toBe(first?.name);
    }
  });

  function psqlWords(socket: string, port: number): string[] {
    return ['-h', socket, '-p', String(port), '-U', 'postgres'];
  }

  function ask({ servers: [server] }: Branch, statement: string): string {
    const words = [...psqlWords(server?.socketDirectory ?? '', server?.port ?? 0), '-qAtc', statement];
    const [command, args] = commandAs(postgresUser, 'psql', [...words, 'postgres']);
    const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', cwd: '/' });
    return (stdout + stderr).trim();
  }

  /** The tablespace of the live cluster, whose server may write to it meanwhile, but makes no new files. */
  function filesIn(directory: string): string[] {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  }
});
