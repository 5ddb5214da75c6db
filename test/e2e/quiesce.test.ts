import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { createMariadb, mariadbd, startMariadb } from '../support/mariadb.ts';
import { skippedWithout } from '../support/needs.ts';
import { startProgram } from '../support/programs.ts';
import { redisServer, startRedis } from '../support/redis.ts';
import { coppice, type Ran, startCoppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool, directory } = commandLinePool();
const skipped = skippedWithout(mariadbd, redisServer);

/** An empty tree, and where it lies. */
function tree(name: string, ...settings: readonly string[]): string {
  done(coppice(pool, 'create', name, '--kind', 'tree'));
  if (settings.length > 0) done(coppice(pool, 'set', name, ...settings));
  return done(coppice(pool, 'path', name)).trim();
}

/** While servers run as our children: who waits for one that runs must not block. */
async function snapshot(...args: readonly string[]): Promise<Ran> {
  return await startCoppice(pool, 'snapshot', ...args).ended;
}

const show = (name: string): { snapshotList: Array<Record<string, unknown>> } =>
  JSON.parse(done(coppice(pool, 'show', name, '--json')));

describe('the built command', () => {
  test('freezes whoever has a volume open', async () => {
    const path = tree('frozen');
    await using holder = startProgram('sh', [
      '-c',
      `exec > ${path}/out; while :; do echo x; sleep 0.01; done`,
    ]);
    while (!existsSync(join(path, 'out'))) await new Promise((resolve) => setTimeout(resolve, 10));
    done(await snapshot('frozen@now', '--consistency', 'freeze'));
    expect(show('frozen').snapshotList[0]).toMatchObject({ consistency: 'freeze' });
    expect(readFileSync(`/proc/${holder.pid}/stat`, 'latin1')).not.toMatch(/\) T/);
  });

  test('runs a hook, and tells when it fails', async () => {
    const hook = join(directory, 'hook');
    writeFileSync(hook, `#!/bin/sh\necho "$1 $COPPICE_VOLUME" >> ${hook}.log\n[ ! -e ${hook}.fails ]\n`);
    chmodSync(hook, 0o755);
    tree('hooked', `quiesce.hook=${hook}`);
    done(await snapshot('hooked@one'));
    expect(readFileSync(`${hook}.log`, 'utf8')).toBe('pre hooked\npost hooked\n');
    writeFileSync(`${hook}.fails`, '');
    expect(refused(await snapshot('hooked@two'), 1)).toContain('hook pre failed with exit code 1');
    expect(show('hooked').snapshotList).toMatchObject([
      { reference: 'hooked@one', consistency: 'application' },
    ]);
  });

  test.skipIf(skipped !== '')(`holds several databases at once${skipped}`, async () => {
    const path = tree('app');
    createMariadb(join(path, 'mysql'));
    await using mariadb = await startMariadb(join(path, 'mysql'));
    await using redis = await startRedis(join(path, 'redis'), ['--appendonly', 'yes']);
    using database = new DatabaseSync(join(path, 'app.db'));
    database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)');
    const settings = [
      `quiesce.mysql=mysql,socket=${mariadb.socket}`,
      `quiesce.redis=redis,socket=${redis.socket}`,
      'quiesce.sqlite=app.db',
      'quiesce.order=sqlite,redis,mysql',
    ];
    done(coppice(pool, 'set', 'app', ...settings));
    done(await snapshot('app@all'));
    const [taken] = show('app').snapshotList;
    expect(taken).toMatchObject({
      consistency: 'application',
      applications: [
        { name: 'sqlite', recovery: 'none' },
        { name: 'redis', recovery: 'AOF' },
        { name: 'mysql', recovery: 'redo' },
      ],
    });
    mariadb.query('CREATE DATABASE after');
    expect(await redis.ask('SET', 'after', '1')).toBe('OK');
    database.exec('INSERT INTO t VALUES (2)');
  });
});
