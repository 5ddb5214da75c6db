import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkCopy } from '../../src/consistency/postgres/check-copy.ts';
import { makeSafe } from '../../src/consistency/postgres/make-safe.ts';
import { runAs } from '../../src/consistency/postgres/programs.ts';
import { type StartOptions, startCopy } from '../../src/consistency/postgres/start-copy.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Bed, makeBed } from '../support/postgres/bed.ts';
import { type Cluster, makeCluster, ownDirectory } from '../support/postgres/cluster.ts';
import { postgresPrograms, verified } from '../support/postgres/programs.ts';
import { take } from '../support/postgres/take.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'));

/** A server on a copy does nothing outside of it, wherever the parts of the cluster were and whatever its settings say. */
describe.skipIf(skipped !== '')(`a server on a copy of a cluster${skipped}`, () => {
  let bed: Bed;
  const owned = new AsyncDisposableStack();
  beforeAll(() => {
    bed = makeBed();
  });
  afterAll(async () => {
    await owned.disposeAsync();
    bed?.[Symbol.dispose]();
  });

  let count = 0;
  const options = (more: Partial<StartOptions> = {}): StartOptions => {
    const socketDirectory = join(bed.scratch, 'sockets', `copy${++count}`);
    ownDirectory(socketDirectory, { uid: lstatSync(join(bed.scratch, 'sockets/1')).uid, gid: 0 });
    return {
      below: 'pg',
      socketDirectory,
      programs: postgresPrograms(),
      timeoutMilliseconds: 30_000,
      ...more,
    };
  };
  const count42 = 'SELECT count(*) = 42 FROM t';
  const filled = async (cluster: Cluster): Promise<Cluster> => {
    owned.use(cluster);
    const far = cluster.far === undefined ? '' : 'TABLESPACE far';
    await cluster.query(`CREATE TABLE t ${far} AS SELECT generate_series(1, 42) AS n`);
    return cluster;
  };

  describe('of which all is in the volume, by absolute links', () => {
    let cluster: Cluster;
    beforeAll(async () => {
      cluster = await filled(await makeCluster(bed, { layout: 'linked' }));
    });

    test('is copied at one instant, and the links of the copy stay in it', async () => {
      const { copies, state } = await take(bed, 'pg', cluster.scope());
      expect(state.details).toMatchObject({ recipe: 'atomic', pg_wal: 'in this volume: wal' });
      const { db = '' } = copies;
      expect(readlinkSync(join(db, 'pg/pg_wal'))).toBe('../wal');
      const [space = ''] = readdirSync(join(db, 'pg/pg_tblspc'));
      expect(readlinkSync(join(db, 'pg/pg_tblspc', space))).toBe('../../far');
      await expectStarts(db);
    });

    test('where nothing can be written into the snapshot, that is done when a server is to be started', async () => {
      const { copies, state } = await take(bed, 'pg', cluster.scope({ canAmend: false }));
      expect(state.details).toMatchObject({ recipe: 'atomic', pg_wal: 'to be turned to this volume: wal' });
      const { db = '' } = copies;
      await expect(startCopy(db, options())).rejects.toThrow(/is a link to .*, outside of the copy/);
      await expectStarts(db, { formerly: [cluster.volume] });
    });

    test('also where the links lead through another mount of the volume', async () => {
      const mounted = join(bed.scratch, 'mounted');
      mkdirSync(mounted);
      runProgram('mount', ['--bind', cluster.volume, mounted]);
      try {
        ownDirectory(join(mounted, 'third'), cluster.owner);
        await cluster.query(`CREATE TABLESPACE third LOCATION '${join(mounted, 'third')}'`);
        const { copies, state } = await take(bed, 'pg', cluster.scope());
        expect(Object.values(state.details)).toContain('in this volume: third');
        await expectStarts(copies['db'] ?? '');
        await cluster.query('DROP TABLESPACE third');
      } finally {
        runProgram('umount', [mounted]);
      }
    });

    async function expectStarts(db: string, more: Partial<StartOptions> = {}): Promise<void> {
      const before = readdirSync(join(cluster.volume, 'wal')).sort();
      await using copy = await startCopy(db, options(more));
      await copy.query('CREATE TABLE more TABLESPACE far AS SELECT generate_series(1, 100000)');
      await copy.query('SELECT pg_switch_wal()');
      const report = await checkCopy(copy, { sql: [count42] });
      expect(report.checksums).toBe(verified());
      expect(readdirSync(join(cluster.volume, 'wal')).sort()).toEqual(before);
    }
  });

  test('of which the data directory is the volume itself', async () => {
    const cluster = await filled(await makeCluster(bed, { below: '.' }));
    for (const value of ['.', '.,recipe=backup']) {
      const { copies } = await take(bed, value, cluster.scope());
      await using copy = await startCopy(copies['db'] ?? '', options({ below: '.' }));
      await checkCopy(copy, { sql: [count42] });
    }
    await cluster.stop();
  });

  describe('of which parts are in other volumes', () => {
    let cluster: Cluster;
    beforeAll(async () => {
      cluster = await filled(await makeCluster(bed, { layout: 'split' }));
    });

    test('what can not be done is refused, and says which part it is', async () => {
      const attempt = (value: string, scope = cluster.scope()): Promise<unknown> => take(bed, value, scope);
      await expect(attempt('pg,recipe=atomic')).rejects.toThrow(
        /can't be copied by recipe=atomic: pg_wal is at /,
      );
      await expect(attempt('pg', cluster.scope({ canAmend: false }))).rejects.toThrow(
        /this storage can't do that/,
      );
      const alone = cluster.scope({ together: [cluster.scope().subject] });
      await expect(attempt('pg', alone)).rejects.toThrow(/no snapshot would have: pg_tblspc\/\d+ \(/);
    });

    test('at the same instant they need no backup, and a copy is started with those of the others', async () => {
      const wal = { volume: 'wal', directory: cluster.wal ?? '' };
      const { together } = cluster.scope();
      const scope = cluster.scope({ sameInstant: true, together: [...together, wal] });
      const { state } = await take(bed, 'pg', scope);
      expect(state.details).toMatchObject({ recipe: 'atomic', pg_wal: 'in volume wal: wal' });
    });

    test('a copy is not started without those of the other volumes', async () => {
      const { copies } = await take(bed, 'pg', cluster.scope());
      await expect(startCopy(copies['db'] ?? '', options())).rejects.toThrow(
        /is in the volume "space": a server can be started on the copy only with a copy of that volume too/,
      );
    });

    test('the copy of a stopped one starts without recovery', async () => {
      await cluster.stop();
      const { copies, state } = await take(bed, 'pg', cluster.scope());
      await cluster.start();
      expect(state).toMatchObject({ level: 'cold', recovery: 'none', details: { recipe: 'stopped' } });
      const { db = '', space = '' } = copies;
      await using copy = await startCopy(db, options({ volumes: { space } }));
      expect(copy.log()).toContain('database system was shut down at');
      await checkCopy(copy, { sql: [count42] });
    });

    test('one whose WAL is nowhere is refused', async () => {
      await cluster.stop();
      const wal = join(cluster.data, 'pg_wal');
      renameSync(wal, `${wal}.away`);
      symlinkSync('/nowhere/wal', wal);
      await expect(take(bed, 'pg', cluster.scope())).rejects.toThrow(
        /no snapshot would have: pg_wal \(\/nowhere\/wal/,
      );
      renameSync(`${wal}.away`, wal);
      await cluster.start();
    });

    test('of one that crashed there is none', async () => {
      await cluster.stop('SIGQUIT');
      await expect(take(bed, 'pg', cluster.scope())).rejects.toThrow(
        /was not shut down, and pg_wal is at .*: start it/,
      );
      await cluster.start();
    });
  });

  describe('which archives, listens, preloads and has standbys', () => {
    let cluster: Cluster;
    let archive = '';
    beforeAll(async () => {
      archive = join(bed.scratch, 'archive');
      cluster = await filled(
        await makeCluster(bed, {
          settings: {
            archive_mode: 'on',
            archive_command: `touch ${archive}/%f`,
            listen_addresses: '127.0.0.1',
          },
        }),
      );
      ownDirectory(archive, cluster.owner);
      await cluster.query("SELECT pg_create_physical_replication_slot('standby', true)");
      await cluster.query("ALTER SYSTEM SET cluster_name = 'live'");
      appendFileSync(join(cluster.data, 'postgresql.conf'), "primary_conninfo = 'host=live'\n");
      await cluster.query('SELECT pg_switch_wal()');
    });

    test('does none of that, and the original settings lie beside its own', async () => {
      const { copies } = await take(bed, 'pg', cluster.scope());
      const { db = '' } = copies;
      expect(readFileSync(join(db, 'pg/postmaster.pid'), 'utf8')).not.toBe('');
      const given = options({ settings: { work_mem: '3MB' } });
      await using copy = await startCopy(db, given);
      const names = ['archive_mode', 'listen_addresses', 'primary_conninfo', 'cluster_name', 'work_mem'];
      const shown = await copy.query(
        `SELECT ${names.map((name) => `current_setting('${name}') AS ${name}`).join(', ')}`,
      );
      expect(shown).toEqual([
        {
          archive_mode: 'off',
          listen_addresses: '',
          primary_conninfo: '',
          cluster_name: 'copy',
          work_mem: '3MB',
        },
      ]);
      expect(await copy.query('SELECT * FROM pg_replication_slots')).toEqual([]);
      const before = readdirSync(archive);
      await copy.query('SELECT pg_switch_wal()');
      await copy.query('CHECKPOINT');
      await checkCopy(copy, { sql: [count42] });
      expect(readdirSync(archive)).toEqual(before);
      expect(readFileSync(join(db, 'pg/postgresql.conf.original'), 'utf8')).toContain(
        "primary_conninfo = 'host=live'",
      );
      expect(readFileSync(join(db, 'pg/postgresql.auto.conf.original'), 'utf8')).toContain('live');
      await makeSafe(db, given);
      expect(readFileSync(join(db, 'pg/postgresql.conf.original'), 'utf8')).toContain(
        "primary_conninfo = 'host=live'",
      );
    });

    test('is asked by TCP, by a role that may see that it is the right one', async () => {
      const line = 'host all remote 127.0.0.1/32 scram-sha-256\n';
      appendFileSync(join(cluster.data, 'pg_hba.conf'), line);
      await cluster.query("SET password_encryption = 'scram-sha-256'; CREATE ROLE remote LOGIN PASSWORD 'x'");
      await cluster.query('SELECT pg_reload_conf()');
      const passfile = join(bed.scratch, 'passwords');
      writeFileSync(passfile, `127.0.0.1:${cluster.port}:postgres:remote:x\n`, { mode: 0o600 });
      const value = `pg,host=127.0.0.1,user=remote,passfile=${passfile}`;
      await expect(take(bed, value, cluster.scope())).rejects.toThrow(/GRANT pg_read_all_settings/);
      await cluster.query('GRANT pg_read_all_settings TO remote');
      expect((await take(bed, value, cluster.scope())).state.level).toBe('application');
    });

    test('what asks for more than is true is damaged, by its statement', async () => {
      const { copies } = await take(bed, 'pg', cluster.scope());
      await using copy = await startCopy(copies['db'] ?? '', options());
      await expect(checkCopy(copy, { sql: ['SELECT count(*) = 43 FROM t'] })).rejects.toThrow(
        /answered false/,
      );
    });

    test('the live one is not taken for a copy', async () => {
      await expect(makeSafe(cluster.volume, options())).rejects.toThrow(
        /runs \(process \d+\), so it is no copy/,
      );
    });

    test.skipIf(verified() !== 'passed')('a page that has rotted is found', async () => {
      await cluster.query('CHECKPOINT');
      const [row] = await cluster.query("SELECT pg_relation_filepath('t') AS path");
      const { copies } = await take(bed, 'pg', cluster.scope());
      const file = join(copies['db'] ?? '', 'pg', String(row?.['path']));
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(8000) ^ 1, 8000);
      writeFileSync(file, bytes);
      await using copy = await startCopy(copies['db'] ?? '', options());
      await expect(checkCopy(copy)).rejects.toThrow('is damaged');
    });

    test('links that its owner has put there lead root nowhere', async () => {
      const { copies } = await take(bed, 'pg', cluster.scope());
      const { db = '' } = copies;
      const outside = join(bed.scratch, 'outside');
      mkdirSync(outside);
      writeFileSync(join(outside, 'precious'), 'mine');
      const data = join(db, 'pg');
      for (const name of ['postmaster.pid', 'postgresql.auto.conf', 'pg_hba.conf']) {
        rmSync(join(data, name));
        symlinkSync(join(outside, 'precious'), join(data, name));
      }
      rmSync(join(data, 'pg_wal/archive_status'), { recursive: true });
      symlinkSync(outside, join(data, 'pg_wal/archive_status'));
      await makeSafe(db, options());
      rmSync(join(data, 'pg_replslot'), { recursive: true });
      symlinkSync(outside, join(data, 'pg_replslot'));
      await expect(makeSafe(db, options())).rejects.toThrow(/outside of the copy/);
      rmSync(join(data, 'pg_replslot'));
      mkdirSync(join(data, 'pg_replslot'));
      renameSync(join(data, 'pg_xact'), join(db, 'xact'));
      symlinkSync('../xact/../../../outside', join(data, 'pg_xact'));
      await expect(makeSafe(db, options())).rejects.toThrow(/outside of the copy/);
      expect(readFileSync(join(outside, 'precious'), 'utf8')).toBe('mine');
      expect(readdirSync(outside)).toEqual(['precious']);
      expect(lstatSync(join(outside, 'precious')).uid).toBe(0);
    });

    test('a standby is copied at one instant and starts on its own, and can make no backup', async () => {
      const volume = bed.subvolume('standby');
      const data = join(volume, 'pg');
      const sockets = join(bed.scratch, 'sockets/standby');
      ownDirectory(sockets, cluster.owner);
      ownDirectory(data, cluster.owner);
      const source = ['-h', cluster.socketDirectory, '-p', String(cluster.port), '-U', 'postgres'];
      const hba = join(cluster.data, 'pg_hba.conf');
      appendFileSync(hba, 'local replication all peer\n');
      await cluster.query('SELECT pg_reload_conf()');
      const base = join(postgresPrograms(), 'pg_basebackup');
      if (!existsSync(base)) return;
      const made = await runAs(cluster.owner, base, ['-D', data, '-R', '--no-sync', '-c', 'fast', ...source]);
      expect(made.errors).toBe('');
      appendFileSync(
        join(data, 'postgresql.auto.conf'),
        `unix_socket_directories = '${sockets}'\nlisten_addresses = ''\n`,
      );
      const control = join(postgresPrograms(), 'pg_ctl');
      const ctl = (...args: string[]): Promise<unknown> =>
        runAs(cluster.owner, control, [...args, '-D', data, '-w', '-s', '-l', join(sockets, 'log')]);
      await ctl('start');
      try {
        const subject = { volume: 'standby', directory: volume };
        const scope = { subject, together: [subject], sameInstant: false, canAmend: true };
        await expect(take(bed, 'pg,recipe=backup', scope)).rejects.toThrow(/is a standby/);
        const { copies, state } = await take(bed, 'pg', scope);
        expect(state.details).toMatchObject({ role: 'standby', recipe: 'atomic' });
        await using copy = await startCopy(copies['standby'] ?? '', options());
        await copy.query('CREATE TABLE own AS SELECT 1');
        await checkCopy(copy, { sql: [count42] });
      } finally {
        await ctl('stop', '-m', 'immediate');
      }
    });
  });
});
