import { closeSync, constants, fchmodSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { runLikeOthers } from '../../linux/priority.ts';

/**
 * The thread that keeps what the server has to remember over a restart: answers to request ids, and jobs. Nothing in it says what is in
 * a pool. What arrives together is written together, and each answer means that it survives a power cut.
 */

export interface StoredRequest {
  /** A digest of the method and of the request: the same id with another request is a mistake. */
  readonly fingerprint: string;
  /** What the method has noted before it began. */
  readonly note: string;
  /** The answer; absent: it has not ended. */
  readonly answer?: Uint8Array;
  /** The boot of the machine in which it was given. */
  readonly boot?: string;
}

export interface StoredJob {
  readonly id: string;
  readonly pool: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** Milliseconds since 1970; absent: it has not ended. */
  readonly ended?: number;
  readonly message: Uint8Array;
}

export type StateTask =
  /** Remembers that a request has begun, or tells what is known of it. */
  | { readonly task: 'begin'; readonly key: string; readonly fingerprint: string; readonly now: number }
  | { readonly task: 'note'; readonly key: string; readonly note: string }
  | {
      readonly task: 'answer';
      readonly key: string;
      readonly answer: Uint8Array;
      readonly boot: string;
      readonly now: number;
    }
  | { readonly task: 'forget'; readonly key: string }
  | { readonly task: 'saveJob'; readonly job: StoredJob }
  | { readonly task: 'jobs' }
  /** Drops some of what ended before a time, and of what is too much. Tells whether there may be more. */
  | { readonly task: 'expireRequests'; readonly before: number }
  /** Drops what ended before a time. Tells the ids of jobs that it dropped. */
  | { readonly task: 'expireJobs'; readonly before: number };

export type StateMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: Error };

/** Answers that are kept at most, the latest; some 350 bytes each. */
const mostRequests = 1_000_000;

/** How many are dropped at once, in some milliseconds. */
const portion = 2000;

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = 0;
  CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', began INTEGER NOT NULL,
    ended INTEGER, answer BLOB, boot TEXT
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS requests_age ON requests (coalesce(ended, began));
  CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, pool TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, message BLOB NOT NULL
  ) WITHOUT ROWID;
`;

const port = parentPort;
if (port) {
  runLikeOthers();
  // Its names and answers are for nobody else.
  const file = openSync(
    String(workerData),
    constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
    0o600,
  );
  fchmodSync(file, 0o600);
  closeSync(file);
  const database = new DatabaseSync(String(workerData));
  // One server to a state: a second one would take the jobs of the first for interrupted ones.
  database.exec('PRAGMA locking_mode = EXCLUSIVE;');
  database.exec(schema);
  const statements = {
    find: database.prepare('SELECT fingerprint, note, answer, boot FROM requests WHERE key = ?'),
    begin: database.prepare('INSERT INTO requests (key, fingerprint, began) VALUES (?, ?, ?)'),
    note: database.prepare('UPDATE requests SET note = ? WHERE key = ?'),
    answer: database.prepare('UPDATE requests SET answer = ?, boot = ?, ended = ? WHERE key = ?'),
    forget: database.prepare('DELETE FROM requests WHERE key = ?'),
    saveJob: database.prepare(
      'INSERT OR REPLACE INTO jobs (id, pool, created, ended, message) VALUES (?, ?, ?, ?, ?)',
    ),
    jobs: database.prepare('SELECT id, pool, created, ended, message FROM jobs ORDER BY created'),
    tooOld: database.prepare(
      `SELECT coalesce(ended, began) AS age FROM requests ORDER BY age DESC LIMIT 1 OFFSET ${mostRequests}`,
    ),
    expireRequests: database.prepare(
      `DELETE FROM requests WHERE key IN (
        SELECT key FROM requests WHERE coalesce(ended, began) < ? ORDER BY coalesce(ended, began) LIMIT ${portion}
      )`,
    ),
    expireJobs: database.prepare('DELETE FROM jobs WHERE ended < ? RETURNING id'),
  };
  let waiting: Array<{ readonly id: number } & StateTask> = [];

  const perform = (task: StateTask): unknown => {
    switch (task.task) {
      case 'begin': {
        const found = statements.find.get(task.key);
        if (!found) statements.begin.run(task.key, task.fingerprint, task.now);
        return found && withoutNull(found);
      }
      case 'note':
        return void statements.note.run(task.note, task.key);
      case 'answer':
        return void statements.answer.run(task.answer, task.boot, task.now, task.key);
      case 'forget':
        return void statements.forget.run(task.key);
      case 'saveJob': {
        const { id, pool, created, ended = null, message } = task.job;
        return void statements.saveJob.run(id, pool, created, ended, message);
      }
      case 'jobs':
        return statements.jobs.all().map(withoutNull);
      case 'expireRequests': {
        const tooOld = Number(statements.tooOld.get()?.['age'] ?? 0);
        return statements.expireRequests.run(Math.max(task.before, tooOld)).changes === portion;
      }
      case 'expireJobs':
        return statements.expireJobs.all(task.before).map((row) => row['id']);
    }
  };

  /** All that waits, in one transaction; if that fails, none of it has happened. */
  const performAll = (): void => {
    const tasks = waiting;
    waiting = [];
    const messages: StateMessage[] = [];
    try {
      database.exec('BEGIN IMMEDIATE');
      for (const task of tasks) messages.push({ id: task.id, result: perform(task) });
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      const failure = error instanceof Error ? error : new Error(String(error));
      messages.splice(0, messages.length, ...tasks.map(({ id }) => ({ id, failure })));
    }
    for (const message of messages) port.postMessage(message);
  };

  port.on('message', (message: 'close' | ({ readonly id: number } & StateTask)) => {
    if (message === 'close') {
      if (waiting.length > 0) performAll();
      database.close();
      port.close();
      return;
    }
    waiting.push(message);
    if (waiting.length === 1) setImmediate(() => waiting.length > 0 && performAll());
  });
}

function withoutNull(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
}
