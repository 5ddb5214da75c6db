import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Session } from '../../src/consistency/postgres/session.ts';
import { makeQuiescer } from '../../src/consistency/quiescers.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Bed, makeBed } from '../support/postgres/bed.ts';
import { type Cluster, makeCluster } from '../support/postgres/cluster.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { take } from '../support/postgres/take.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'));

/** What stands in the way is said, with what to do about it, and nothing of it stays behind in the server. */
describe.skipIf(skipped !== '')(`a cluster that can't be quiesced${skipped}`, () => {
  let bed: Bed;
  let cluster: Cluster;
  beforeAll(async () => {
    bed = makeBed();
    cluster = await makeCluster(bed);
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    bed?.[Symbol.dispose]();
  });

  const refusal = async (value: string, scope = cluster.scope()): Promise<string> => {
    const failure = await take(bed, value, scope).then(
      () => new Error('it was taken'),
      (error: unknown) => error as Error,
    );
    return `${'code' in failure ? String(failure.code) : ''}: ${failure.message}`;
  };
  const left = async (): Promise<unknown> =>
    cluster.query(
      "SELECT (SELECT count(*)::int FROM pg_replication_slots) AS slots, (SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'coppice' AND pid <> pg_backend_pid()) AS sessions",
    );

  describe('by what is declared', () => {
    test.each([
      ['pg,password=secret-1', 'a password does not belong into a setting'],
      ['postgres://me:secret-1@localhost/db', 'a password does not belong into a setting'],
      ['pg,host=10.0.0.1', 'is not this machine'],
      ['pg,socket=run', 'must begin with "/"'],
      ['pg,socket=/run,host=localhost', 'one is enough'],
      ['pg,port=0', 'is no port'],
      ['pg,recipe=automatic', 'there is no recipe'],
      ['pg,sockt=/run', 'Did you mean "socket"?'],
      ['../pg', 'without ".."'],
    ])('%s: %s', async (value, sentence) => {
      const said = await refusal(value);
      expect(said).toContain('invalid_argument: ');
      expect(said).toContain(sentence);
      expect(said).not.toContain('secret-1');
    });
  });

  describe('by what is in the volume', () => {
    test('no data directory', async () => {
      mkdirSync(join(cluster.volume, 'empty'));
      expect(await refusal('empty')).toMatch(/^invalid_argument: .* is no data directory of PostgreSQL/);
      expect(await refusal('none')).toMatch(/^not_found: There is no /);
    });

    test('an old one', async () => {
      mkdirSync(join(cluster.volume, 'old'));
      writeFileSync(join(cluster.volume, 'old/PG_VERSION'), '12\n');
      expect(await refusal('old')).toMatch(/^unsupported: .* 13 is the oldest/);
    });

    test('a link to one', async () => {
      symlinkSync('pg', join(cluster.volume, 'link'));
      expect(await refusal('link')).toMatch(/^unsupported: .* is no directory of the volume, but a link/);
    });

    test('one in a subvolume of its own', async () => {
      const subject = { volume: 'all', directory: bed.path };
      const scope = cluster.scope({ subject, together: [subject] });
      const path = cluster.data.slice(bed.path.length + 1);
      expect(await refusal(path, scope)).toMatch(/^unsupported: .* is a subvolume or mount of its own/);
    });

    test('the label of an exclusive backup, which each copy would stumble over', async () => {
      writeFileSync(join(cluster.data, 'backup_label'), 'x');
      expect(await refusal('pg')).toMatch(/^busy: .* exclusive backup/);
      rmSync(join(cluster.data, 'backup_label'));
    });

    test('a part that is elsewhere', async () => {
      const away = join(bed.scratch, 'away');
      mkdirSync(away, { recursive: true });
      symlinkSync(away, join(cluster.data, 'pg_tblspc/12345'));
      expect(await refusal('pg')).toMatch(/^unsupported: .* no snapshot would have: pg_tblspc\/12345 \(/);
      expect(await refusal('pg,recipe=atomic')).toMatch(/^unsupported: .*pg_tblspc\/12345 is at /);
      rmSync(join(cluster.data, 'pg_tblspc/12345'));
    });

    test('a link that leads nowhere here, but may do so for a server in a container', async () => {
      symlinkSync('/nowhere/else', join(cluster.data, 'pg_more'));
      expect(await refusal('pg')).toMatch(
        /^unsupported: .* has pg_more as a link to \/nowhere\/else, which is something else/,
      );
      rmSync(join(cluster.data, 'pg_more'));
    });
  });

  describe('by who answers', () => {
    test('another cluster', async () => {
      await using other = await makeCluster(bed);
      const value = `pg,socket=${other.socketDirectory},port=${other.port}`;
      expect(await refusal(value)).toMatch(/^invalid_argument: The server that answers is not that of/);
    });

    test('another user', async () => {
      const directory = join(bed.scratch, 'imposter');
      mkdirSync(directory);
      const told: string[] = [];
      const server = createServer((socket) => socket.on('data', (data) => told.push(data.toString())));
      await new Promise<void>((resolve) => server.listen(join(directory, '.s.PGSQL.5432'), resolve));
      expect(await refusal(`pg,socket=${directory},port=5432`)).toMatch(
        /but user 0 listens on its socket|EACCES/,
      );
      await new Promise((resolve) => server.close(resolve));
      expect(told).toEqual([]);
    });

    test('nobody at that place, although the server runs', async () => {
      expect(await refusal('pg,port=1')).toMatch(/^not_found: .* there is no such socket/);
    });
  });

  describe('by the rights of the role', () => {
    test('no such role, and one that the server does not let in', async () => {
      expect(await refusal('pg,user=nobody-of-this-name')).toMatch(
        /^permission_denied: .* does not let role/,
      );
    });

    test('no password, a wrong one, and a file that others can read', async () => {
      await cluster.query(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE secretive LOGIN PASSWORD 'right:one'",
      );
      const hba = join(cluster.data, 'pg_hba.conf');
      writeFileSync(
        hba,
        'local all secretive scram-sha-256\nlocal all worker trust\nlocal all lesser trust\nlocal all all peer\n',
      );
      await cluster.query('SELECT pg_reload_conf()');
      expect(await refusal('pg,user=secretive')).toMatch(
        /^permission_denied: .* wants a password .* none is declared/,
      );
      const file = join(bed.scratch, 'passwords');
      const value = `pg,user=secretive,passfile=${file}`;
      expect(await refusal(value)).toMatch(/^not_found: .* no file with passwords/);
      writeFileSync(file, 'localhost:*:*:other:x\nlocalhost:*:*:secretive:wrong\n');
      chmodSync(file, 0o644);
      expect(await refusal(value)).toMatch(/^permission_denied: .*chmod 600/);
      chmodSync(file, 0o600);
      expect(await refusal(value)).toMatch(
        /^permission_denied: .* the password of role "secretive" is wrong/,
      );
      writeFileSync(file, '#\nlocalhost:*:*:secretive:right\\:one\n');
      expect((await take(bed, value, cluster.scope())).state.level).toBe('application');
    });

    test('each right that a recipe takes is named, and with those it works', async () => {
      expect((await take(bed, 'pg,user=lesser', cluster.scope())).state.details['recipe']).toBe('atomic');
      const checkpoint = await refusal('pg,user=lesser,recipe=checkpoint');
      for (const value of ['pg,user=lesser,recipe=checkpoint', 'pg,user=lesser,recipe=backup']) {
        for (
          let said = await refusal(value);
          said.startsWith('permission_denied');
          said = await refusal(value)
        ) {
          const [, statement = ''] =
            /a superuser gives it by: (.*?)(?: \(in the database| \(it said)/.exec(said) ?? [];
          await cluster.query(statement);
        }
        expect((await take(bed, value, cluster.scope())).state.level).toBe('application');
      }
      expect(checkpoint).toMatch(/^permission_denied: .*"lesser"/);
    });

    test('no connection left', async () => {
      await cluster.query('ALTER ROLE worker CONNECTION LIMIT 0');
      expect(await refusal('pg,user=worker')).toMatch(/^busy: .* too many connections/);
    });
  });

  describe('by the state of the server', () => {
    test.each(['full_page_writes', 'fsync'])('%s is off', async (setting) => {
      const set = async (value: string): Promise<void> => {
        await cluster.query(`ALTER SYSTEM SET ${setting} = ${value}`);
        await cluster.query('SELECT pg_reload_conf()');
        for (;;) {
          const [row] = await cluster.query(`SELECT current_setting('${setting}') AS now`);
          if (row?.['now'] === value) return;
        }
      };
      await set('off');
      for (const recipe of ['atomic', 'backup'])
        expect(await refusal(`pg,recipe=${recipe}`)).toMatch(`${setting} = off`);
      await set('on');
    });

    test('a tablespace came meanwhile', async () => {
      const path = join(bed.scratch, 'new-space');
      const create = async (): Promise<void> => symlinkSync(path, join(cluster.data, 'pg_tblspc/9'));
      for (const step of ['prepared', 'held'] as const) {
        mkdirSync(path, { recursive: true });
        await expect(take(bed, 'pg', cluster.scope(), { [step]: create })).rejects.toThrow(
          /tablespace.*try again/,
        );
        rmSync(join(cluster.data, 'pg_tblspc/9'));
      }
    });

    test('the connection is lost in the middle of a backup, which then ends by itself', async () => {
      const lose = async (): Promise<void> => {
        await cluster.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'coppice' AND pid <> pg_backend_pid()",
        );
      };
      await expect(take(bed, 'pg,recipe=backup', cluster.scope(), { held: lose })).rejects.toThrow(
        /could not end the backup, so that there is no snapshot/,
      );
      await expect.poll(left, { timeout: 5000 }).toEqual([{ slots: 0, sessions: 0 }]);
      expect((await take(bed, 'pg,recipe=backup', cluster.scope())).state.details['recipe']).toBe('backup');
    });

    test('whoever is disposed of in the middle leaves no backup, slot or session behind', async () => {
      const signal = new AbortController().signal;
      const quiescer = await makeQuiescer('postgres', 'pg,recipe=backup');
      await quiescer.prepare(cluster.scope(), signal);
      await quiescer.hold(signal);
      await quiescer[Symbol.asyncDispose]();
      await expect.poll(left, { timeout: 5000 }).toEqual([{ slots: 0, sessions: 0 }]);
    });

    test('a step whose time is over ends at once, with what it was', async () => {
      const over = new AbortController();
      const signal = new AbortController().signal;
      await using quiescer = await makeQuiescer('postgres', 'pg');
      await quiescer.prepare(cluster.scope(), signal);
      over.abort(new Error('the time is over'));
      await expect(quiescer.hold(over.signal)).rejects.toThrow('the time is over');
    });

    test('it is being stopped, is stopped, and is started meanwhile', async () => {
      const signal = new AbortController().signal;
      const session = await Session.open(
        {
          at: cluster,
          port: cluster.port,
          user: 'postgres',
          database: 'postgres',
          as: cluster.owner,
          server: 'it',
          password: () => undefined,
        },
        signal,
      );
      cluster.signal('SIGTERM');
      await expect.poll(() => refusal('pg'), { timeout: 5000 }).toMatch(/^busy: .* takes no connections/);
      await session[Symbol.asyncDispose]();
      await cluster.stop();
      const { state } = await take(bed, 'pg', cluster.scope());
      expect(state).toMatchObject({ level: 'cold', recovery: 'none', details: { state: 'shut down' } });
      await expect(take(bed, 'pg', cluster.scope(), { held: () => cluster.start() })).rejects.toThrow(
        /was started while the snapshot was taken/,
      );
      await cluster.stop('SIGKILL');
      // Those that it had started end a moment later.
      await expect.poll(() => refusal('pg'), { timeout: 5000 }).toMatch(/it was taken/);
      const crashed = await take(bed, 'pg', cluster.scope());
      expect(crashed.state).toMatchObject({ level: 'cold', recovery: 'WAL' });
      expect(crashed.state.details).toMatchObject({
        state: 'in production',
        why: expect.stringContaining('postmaster.pid'),
      });
      await cluster.start();
      expect((await take(bed, 'pg', cluster.scope())).state.level).toBe('application');
    });
  });
});
