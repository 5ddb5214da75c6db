import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endServers } from '../../src/consistency/postgres/end-servers.ts';
import { commandAs } from '../../src/consistency/postgres/programs.ts';
import { backends } from '../conformance/backends.ts';
import { coppice, type Ran } from '../e2e/command.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Cluster, makeCluster, postgresUser } from '../support/postgres/cluster.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { runDirectory } from '../support/run-directory.ts';
import type { TestPool } from '../support/test-pool.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'));

/** The first that has directory trees: btrfs, and in the guest ZFS. */
const backend = backends.find(({ capabilities }) => capabilities['treeVolumes'] === true);

/** What a user does with a volume that a database lives on, by the built command. */
describe.skipIf(skipped !== '')(`a volume with a running PostgreSQL${skipped}`, () => {
  let home: TestPool;
  let cluster: Cluster;

  const run = (...words: string[]): Ran => coppice(home.path, ...words);
  const done = (...words: string[]): string => {
    const { code, stdout, stderr } = run(...words);
    expect(code, `${words.join(' ')}: ${stderr}`).toBe(0);
    return stdout;
  };
  const json = (...words: string[]): unknown => JSON.parse(done(...words, '--json'));
  const rows = async (): Promise<unknown> =>
    (await cluster.query('SELECT count(*)::int AS n FROM t'))[0]?.['n'];
  const insert = (): Promise<unknown> => cluster.query('INSERT INTO t VALUES (1)');

  beforeAll(async () => {
    // The server is another user, who has to get there.
    chmodSync(runDirectory(), 0o711);
    if (!backend) throw new Error('no kind of pool that runs here has directory trees');
    home = await backend.makePool();
    await home.pool.create('crypt', { kind: 'tree' });
    const path = await home.pool.diskPath('crypt');
    cluster = await makeCluster({ scratch: home.scratch, subvolume: () => path } as never);
    await cluster.query('CREATE TABLE t AS SELECT generate_series(1, 42) AS n');
    done('set', 'crypt', 'quiesce.postgres=pg');
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    if (cluster) stopped();
    await home?.[Symbol.asyncDispose]();
  });

  /** By the hook below there may be another server than the one that was begun with. */
  function stopped(): void {
    const pgCtl = join(postgresPrograms(), 'pg_ctl');
    spawnSync(...commandAs(postgresUser, pgCtl, ['stop', '-m', 'immediate', '-D', cluster.data]), {
      cwd: '/',
    });
  }

  test('every snapshot is consistent for it, and says on what that rests', async () => {
    expect(json('snapshot', 'crypt@a')).toMatchObject({
      consistency: 'application',
      applications: [
        { name: 'postgres', level: 'application', recovery: 'WAL', details: { recipe: 'atomic' } },
      ],
    });
    expect(done('list', '-t', 'snapshot')).toContain('application (WAL)');
    expect(json('snapshot', 'crypt@plain', '--consistency', 'sync')).not.toHaveProperty('applications');
    done('remove', 'crypt@plain');
  });

  test('a snapshot is proven on a copy, which is gone afterwards', async () => {
    const [proven] = json('verify', 'crypt@a', '--sql', 'SELECT count(*) = 42 FROM t') as Array<{
      readonly checks: ReadonlyArray<{ readonly name: string; readonly result: string }>;
    }>;
    expect(proven?.checks.map(({ name, result }) => `${name} ${result}`)).toEqual([
      'postgres starts passed',
      'postgres amcheck passed',
      'postgres checksums passed',
      'postgres statements passed',
    ]);
    expect(done('list', '-t', 'snapshot')).toMatch(/crypt@a.*proven/);
    expect((await home.pool.list()).map(({ name }) => name)).toEqual(['crypt']);
  });

  test('what is asked for and not so makes it one that can not be relied on, which is recorded', async () => {
    done('snapshot', 'crypt@bad');
    done('set', 'crypt', 'verify.sql=SELECT count(*) = 43 FROM t');
    const { code, stdout, stderr } = run('verify', 'crypt@bad');
    expect(code).toBe(1);
    expect(stdout).toContain('SELECT count(*) = 43 FROM t answered false');
    expect(stderr).toContain('crypt@bad can not be relied on');
    expect(await home.pool.listSnapshots('crypt')).toMatchObject([
      { verified: { result: 'passed' } },
      { verified: { result: 'failed' } },
    ]);
    done('set', 'crypt', 'verify.sql=');
    done('remove', 'crypt@bad');
    expect(run('verify', 'crypt@none').code).toBe(3);
  });

  test('a branch has a server of its own, which goes with it', async () => {
    const { servers } = json('branch', 'crypt@a', 'try') as {
      servers: Array<{ socketDirectory: string; port: number }>;
    };
    let [server] = servers;
    const ask = (statement: string): string => {
      const words = [
        '-h',
        server?.socketDirectory ?? '',
        '-p',
        String(server?.port),
        '-U',
        'postgres',
        '-Atc',
        statement,
      ];
      const [command, args] = commandAs(postgresUser, 'psql', [...words, 'postgres']);
      return spawnSync(command, args, { encoding: 'utf8', cwd: '/' }).stdout.trim();
    };
    expect(ask('SELECT count(*) FROM t')).toBe('42');
    expect(ask("SELECT current_setting('archive_mode') || current_setting('listen_addresses')")).toBe('off');
    ask('DELETE FROM t');
    expect(await rows()).toBe(42);
    expect(json('snapshot', 'try@s')).toMatchObject({ consistency: 'application' });
    // As after a reboot: it starts again with what its user has set, and once is enough.
    ask("ALTER SYSTEM SET work_mem = '7MB'");
    endServers(await home.pool.diskPath('try'), 'pg');
    expect(ask('SELECT 1')).toBe('');
    for (const _ of [1, 2]) expect(json('branch', '--restart', 'try')).toEqual({ name: 'try', servers });
    expect(ask('SHOW work_mem')).toBe('7MB');
    expect(ask('SELECT count(*) FROM t')).toBe('0');
    // Under another name its socket is elsewhere, too.
    endServers(await home.pool.diskPath('try'), 'pg');
    done('rename', 'try', 'tried');
    const again = json('branch', '--restart', 'tried') as { servers: typeof servers };
    expect(again.servers[0]?.socketDirectory).toContain('/tried/');
    [server] = again.servers;
    expect(ask('SELECT count(*) FROM t')).toBe('0');
    expect(ask("SELECT current_setting('archive_mode') || current_setting('listen_addresses')")).toBe('off');
    expect(run('branch', '--restart', 'crypt').stderr).toContain('crypt is no branch');
    done('remove', 'tried', '--with-snapshots');
    expect(existsSync(server?.socketDirectory ?? '')).toBe(false);
    expect((await home.pool.list()).map(({ name }) => name)).toEqual(['crypt']);
    expect(ask('SELECT 1')).toBe('');
  });

  test('a rollback is refused while it runs, and stops and starts it where it is known how', async () => {
    await insert();
    const refused = run('rollback', 'crypt@a');
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain('process ');
    expect(run('rollback', 'crypt@a', '--stop').stderr).toContain('coppice set crypt stop.unit=');
    expect(await rows()).toBe(43);

    done('set', 'crypt', `stop.hook=${hook()}`);
    const { undo = '' } = json('rollback', 'crypt@a', '--stop') as { undo?: string };
    expect(await rows()).toBe(42);
    done('rollback', undo, '--stop');
    expect(await rows()).toBe(43);
    expect(json('snapshot', 'crypt@cold', '--consistency', 'cold')).toMatchObject({ consistency: 'cold' });
    expect(await rows()).toBe(43);
    expect(readdirSync(join(await home.pool.diskPath('crypt@cold'), 'pg'))).not.toContain('postmaster.pid');
  });

  test('a change that fails is undone under it, and one that succeeds stays', async () => {
    const psql = (statement: string): string[] => {
      const words = [
        '-h',
        cluster.socketDirectory,
        '-p',
        String(cluster.port),
        '-U',
        'postgres',
        '-qc',
        statement,
      ];
      const [command, args] = commandAs(postgresUser, 'psql', [...words, 'postgres']);
      return [command, ...args];
    };
    const failed = run('guard', 'crypt', '--check', '/bin/false', '--', ...psql('DELETE FROM t'));
    expect(failed.stderr).toContain('it is back at crypt@guard-');
    expect(failed.code).toBe(1);
    expect(await rows()).toBe(43);
    done('guard', 'crypt', '--check', '/bin/true', '--', ...psql('DELETE FROM t'));
    expect(await rows()).toBe(0);
  });

  function hook(): string {
    const path = join(home.scratch, 'stop-and-start');
    const pgCtl = join(postgresPrograms(), 'pg_ctl');
    const [command, args] = commandAs(postgresUser, pgCtl, [
      '-D',
      cluster.data,
      '-w',
      '-s',
      '-l',
      join(cluster.data, 'log'),
    ]);
    writeFileSync(
      path,
      `#!/bin/sh
cd /
exec ${command} ${args.join(' ')} "$1"
`,
    );
    chmodSync(path, 0o755);
    return path;
  }
});
