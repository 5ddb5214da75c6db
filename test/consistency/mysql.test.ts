import { chmodSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scratchDirectory } from '../support/devices.ts';
import { createMariadb, type Mariadb, mariadbd, startMariadb } from '../support/mariadb.ts';
import { skippedWithout } from '../support/needs.ts';
import { acknowledged } from '../support/ordered-writer.ts';
import { startScript, type TestProgram } from '../support/programs.ts';
import { declared, quiesced, scopeOf } from '../support/quiesced.ts';
import { type Subvolume, subvolume } from '../support/subvolume.ts';

const skipped = skippedWithout(mariadbd);

describe.skipIf(skipped !== '')(`MariaDB${skipped}`, () => {
  let volume: Subvolume;
  let server: Mariadb;
  let scratch: string;
  let answers: string;
  const tables = ['inno', 'inno2', 'isam', 'aria'];

  beforeAll(async () => {
    volume = subvolume();
    scratch = scratchDirectory('mysql');
    answers = join(scratch, 'acknowledged');
    createMariadb(join(volume.directory, 'data'));
    server = await startMariadb(join(volume.directory, 'data'), ['--log-bin=binlog']);
    server.query(`
      CREATE DATABASE app;
      CREATE TABLE app.inno (n INT PRIMARY KEY, x TEXT) ENGINE=InnoDB;
      CREATE TABLE app.inno2 (n INT PRIMARY KEY, x TEXT) ENGINE=InnoDB;
      CREATE TABLE app.isam (n INT PRIMARY KEY, x TEXT) ENGINE=MyISAM;
      CREATE TABLE app.aria (n INT PRIMARY KEY, x TEXT) ENGINE=Aria TRANSACTIONAL=0;
      CREATE USER backup@localhost IDENTIFIED BY 'secret, with = # and "';
      GRANT RELOAD, PROCESS, BINLOG MONITOR ON *.* TO backup@localhost;
      CREATE USER weak@localhost IDENTIFIED BY 'weak';
    `);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    volume[Symbol.dispose]();
  });

  const declaration = (...parts: readonly string[]): string =>
    `mysql=${['data', `socket=${server.socket}`, ...parts].join(',')}`;

  async function writer(): Promise<TestProgram> {
    server.query(tables.map((table) => `DELETE FROM app.${table};`).join(''));
    const program = startScript('mysql-writer', [server.socket, answers]);
    await program.said('ready');
    return program;
  }

  /** Somebody can write, and take a lock like ours. */
  const isFree = (): void => {
    server.query('INSERT INTO app.isam VALUES (-1, "x"); DELETE FROM app.isam WHERE n = -1');
    server.query('BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT; BACKUP STAGE END');
  };

  /** What a server that is started on a copy finds in it. */
  async function inspect(copy: string): Promise<{ highest: number[]; checks: string }> {
    // Tables are repaired when they are opened, unless one forbids it.
    const unrepaired = ['--log-bin=binlog', '--myisam-recover-options=OFF', '--aria-recover-options=OFF'];
    await using started = await startMariadb(join(copy, 'data'), unrepaired);
    const checks = started.query(`CHECK TABLE ${tables.map((table) => `app.${table}`).join(', ')}`);
    const highest = tables.map((table) =>
      Number(started.query(`SELECT coalesce(max(n), 0) FROM app.${table}`)),
    );
    return { highest, checks };
  }

  test('starts from a snapshot with all that was acknowledged, and all its tables whole', async () => {
    await using _program = await writer();
    let atLeast = 0;
    const { taken: copy, state } = await quiesced(declaration(), scopeOf(volume), async () => {
      atLeast = acknowledged(answers);
      await delay(50);
      expect(acknowledged(answers)).toBe(atLeast);
      return volume.snapshot();
    });
    expect(atLeast).toBeGreaterThan(0);
    expect(state).toEqual({
      name: 'mysql',
      level: 'application',
      recovery: 'redo',
      details: {
        server: expect.stringContaining('MariaDB'),
        recipe: 'backup stages',
        binlog: expect.stringMatching(/^binlog\.\d+:\d+$/),
        gtid: expect.stringMatching(/^0-1-\d+$/),
      },
    });
    const { highest, checks } = await inspect(copy);
    for (const each of highest) expect(each - atLeast === 0 || each - atLeast === 1).toBe(true);
    expect(checks.split('\n').filter((line) => line !== '' && !/status\tOK$/.test(line))).toEqual([]);
    volume.drop(copy);
  });

  test('without it, tables that can not repair themselves are not whole', async () => {
    await using _program = await writer();
    let isBroken = false;
    for (let round = 0; round < 5 && !isBroken; round++) {
      const copy = volume.snapshot();
      isBroken = await inspect(copy).then(
        ({ checks }) => /warning|error/i.test(checks),
        () => true,
      );
      volume.drop(copy);
    }
    expect(isBroken).toBe(true);
  });

  test('another user, by a file with a password', async () => {
    const file = join(scratch, 'my.cnf');
    const text = `[other]\nuser = nobody\n[client]\nuser = backup\npassword = 'secret, with = # and \\"'\n`;
    writeFileSync(file, text, { mode: 0o600 });
    await quiesced(declaration(`defaults-file=${file}`), scopeOf(volume), () => undefined);
    chmodSync(file, 0o640);
    const refused = quiesced(declaration(`defaults-file=${file}`), scopeOf(volume), () => undefined);
    await expect(refused).rejects.toThrow(/others could read it/);
    for (const [user, password, sentence] of [
      ['weak', 'weak', /give this one the rights/],
      ['backup', 'wrong', /Access denied/],
    ] as const) {
      writeFileSync(file, `[client]\nuser=${user}\npassword=${password}\n`);
      chmodSync(file, 0o600);
      const denied = quiesced(declaration(`defaults-file=${file}`), scopeOf(volume), () => undefined);
      await expect(denied).rejects.toThrow(sentence);
    }
    isFree();
  });

  test('a server that does not answer is left in time', async () => {
    const quiescer = await declared(declaration('timeout=0.5'));
    await quiescer.prepare(scopeOf(volume), new AbortController().signal);
    process.kill(server.pid, 'SIGSTOP');
    const hold = quiescer.hold(AbortSignal.timeout(300));
    await expect(hold).rejects.toThrow(/timeout/);
    process.kill(server.pid, 'SIGCONT');
    await quiescer.release(new AbortController().signal).catch(() => undefined);
    await quiescer[Symbol.asyncDispose]();
    isFree();
  });

  test('a connection that is lost meanwhile is no snapshot', async () => {
    const lost = quiesced(declaration(), scopeOf(volume), () => {
      const own = "SELECT id FROM information_schema.processlist WHERE user = 'root' AND command = 'Sleep'";
      for (const id of server.query(own).split('\n').filter(Boolean)) server.query(`KILL ${id}`);
    });
    await expect(lost).rejects.toThrow(/database server has failed/);
    isFree();
  });

  test('a lock that others have too long is waited for in vain', async () => {
    await using other = startScript('quiesce-child', [declaration(), volume.directory, 'hold']);
    await other.said('hold');
    const late = quiesced(declaration('timeout=1'), scopeOf(volume), () => undefined);
    await expect(late).rejects.toThrow(/took more than 1 s|Lock wait timeout/);
    other.child.kill('SIGKILL');
    await other.ended;
    isFree();
  });

  test('a server with data elsewhere is refused', async () => {
    const elsewhere = scopeOf({ directory: scratch });
    const other = quiesced(`mysql=socket=${server.socket}`, elsewhere, () => undefined);
    await expect(other).rejects.toThrow(/keeps its data in .* which is not in the volume app/);
    const wrong = quiesced(`mysql=data/mysql,socket=${server.socket}`, scopeOf(volume), () => undefined);
    await expect(wrong).rejects.toThrow(/is not the directory of the server/);
    const link = join(volume.directory, 'data', 'linked');
    symlinkSync(scratch, link);
    const linked = quiesced(declaration(), scopeOf(volume), () => undefined);
    await expect(linked).rejects.toThrow(/lies elsewhere, behind .*linked/);
    unlinkSync(link);
  });

  test.each(['socket=run/x', 'x=1', '../a,socket=/a', 'defaults-file=a', 'timeout=no'])(
    'can not be declared by "%s"',
    async (value) => {
      await expect(declared(`mysql=${value}`)).rejects.toThrow(/quiesce\.mysql can't be used/);
    },
  );

  test('no server is told as what it is', async () => {
    const none = quiesced(`mysql=socket=${join(scratch, 'none')}`, scopeOf(volume), () => undefined);
    await expect(none).rejects.toThrow(/There is no .*none/);
  });
});
