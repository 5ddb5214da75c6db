import type { MysqlSession } from './session.ts';

/** How a server is held still. */
export interface Recipe {
  readonly name: 'backup stages' | 'read lock' | 'atomic';
  readonly hold: readonly string[];
  /** The first of them fails where the lock was lost. */
  readonly release: readonly string[];
}

/**
 * MariaDB: its stages for backups wait for no running query, and at the last no table changes and nothing is committed. Its own tables are
 * not InnoDB's, so they are needed always.
 */
const stages: Recipe = {
  name: 'backup stages',
  hold: ['START', 'FLUSH', 'BLOCK_DDL', 'BLOCK_COMMIT'].map((stage) => `BACKUP STAGE ${stage}`),
  release: ['BACKUP STAGE END'],
};

/** Before it had stages, and for MySQL with tables that are not InnoDB's, which can't repair themselves: waits for running queries. */
const readLock: Recipe = {
  name: 'read lock',
  hold: ['FLUSH TABLES WITH READ LOCK'],
  release: ['UNLOCK TABLES'],
};

/**
 * MySQL with InnoDB alone: what a snapshot has of one instant is enough for it to recover. Only changes of definitions, which write
 * several files, are kept off.
 */
const atomic: Recipe = {
  name: 'atomic',
  hold: ['LOCK INSTANCE FOR BACKUP'],
  release: ['UNLOCK INSTANCE'],
};

export interface Server {
  readonly version: string;
  readonly isMariadb: boolean;
}

export async function chooseRecipe(
  session: MysqlSession,
  { version, isMariadb }: Server,
  signal: AbortSignal,
): Promise<Recipe> {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (isMariadb) return major * 100 + minor >= 1004 ? stages : readLock;
  if (major < 8) return readLock;
  const others = await session.query(
    `SELECT 1 FROM information_schema.tables WHERE engine NOT IN ('InnoDB', 'MEMORY', 'PERFORMANCE_SCHEMA')
     AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') LIMIT 1`,
    signal,
  );
  if (others.length === 0) return atomic;
  return {
    name: 'read lock',
    hold: [...atomic.hold, ...readLock.hold],
    release: [...readLock.release, ...atomic.release],
  };
}
