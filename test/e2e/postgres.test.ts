import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkCopy } from '../../src/consistency/postgres/check-copy.ts';
import { startCopy } from '../../src/consistency/postgres/start-copy.ts';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { type Cluster, makeCluster, ownDirectory } from '../support/postgres/cluster.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { runDirectory } from '../support/run-directory.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';
import { coppice } from './command.ts';

const skipped = skippedWithout(join(postgresPrograms(), 'postgres'));

describe.skipIf(skipped !== '')(`PostgreSQL in a volume, by the command${skipped}`, () => {
  let made: TestPool;
  let cluster: Cluster;
  let scratch = '';
  beforeAll(async () => {
    chmodSync(runDirectory(), 0o711);
    made = await makeTestPool();
    scratch = scratchDirectory('postgres');
    mkdirSync(join(scratch, 'sockets'));
    await made.pool.create('db', { kind: 'tree' });
    const { path = '' } = await made.pool.show('db');
    cluster = await makeCluster({ scratch, subvolume: () => path });
    await cluster.query('CREATE TABLE t AS SELECT generate_series(1, 42) AS n');
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await made?.[Symbol.asyncDispose]();
  });

  const done = (...args: readonly string[]): unknown => {
    const { code, stdout, stderr } = coppice(made.path, ...args, '--json');
    expect(stderr).toBe('');
    expect(code).toBe(0);
    return JSON.parse(stdout);
  };

  test.each(['atomic', 'backup'])(
    'a snapshot by recipe %s reaches "application", and a clone of it starts',
    async (recipe) => {
      done('set', 'db', `quiesce.postgres=pg,recipe=${recipe}`);
      const snapshot = `db@${recipe}`;
      done('snapshot', snapshot, '--consistency', 'application');
      const shown = JSON.stringify(done('show', snapshot));
      expect(shown).toContain('"consistency":"application"');
      expect(shown).toContain(`"recipe":"${recipe}"`);
      done('clone', snapshot, `clone-${recipe}`);
      const { path = '' } = await made.pool.show(`clone-${recipe}`);
      expect(existsSync(join(path, 'pg/backup_label'))).toBe(recipe === 'backup');
      const socketDirectory = join(scratch, 'sockets', recipe);
      ownDirectory(socketDirectory, cluster.owner);
      await using copy = await startCopy(path, {
        below: 'pg',
        socketDirectory,
        programs: postgresPrograms(),
      });
      await checkCopy(copy, { sql: ['SELECT count(*) = 42 FROM t'] });
    },
  );

  test('what stands in the way is said, and there is no snapshot', () => {
    done('set', 'db', 'quiesce.postgres=pg,port=1');
    const { code, stderr } = coppice(made.path, 'snapshot', 'db@none', '--consistency', 'application');
    expect(code).not.toBe(0);
    expect(stderr).toContain('there is no such socket; name its directory by socket=DIRECTORY');
    expect(coppice(made.path, 'show', 'db@none').code).not.toBe(0);
  });
});
