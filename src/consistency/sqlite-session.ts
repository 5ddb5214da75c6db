import { lstatSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { becomeUser } from './as-user.ts';
import type { SqliteReport } from './sqlite.ts';

/**
 * A process of its own that holds the writers of an SQLite database, as the user whom the file belongs to. With it, or with who has
 * started it, the lock is gone.
 * Usage: sqlite-session UID GID NAME INODE MILLISECONDS, with the directory of the file as descriptor 3
 */

const [name = '', inode = '', patience = ''] = becomeUser(3);

/** Milliseconds for which readers are waited for, who keep the log of changes from being emptied, but harm nothing. */
const readerPatience = 200;
const tries = 3;

/** Milliseconds: no snapshot takes as long. */
const longestHold = 60_000;

process.stdin.on('close', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));
const database = answering(() => open());
process.stdin.on('data', (chunk) => {
  for (const word of String(chunk).trim().split('\n'))
    answering(() => (word === 'hold' ? hold() : release()));
});

function open(): DatabaseSync {
  requireSameFile();
  const opened = new DatabaseSync(`file:./${encodeURIComponent(name)}?mode=rw`);
  waitFor(opened, Number(patience));
  requireSameFile();
  opened.exec('PRAGMA wal_checkpoint(PASSIVE)'); // the most of it before anybody waits
  say({ phase: 'ready', journal: journalOf(opened) });
  return opened;
}

/** What is in the log of changes (WAL) goes into the database, and then writers are held. Between the two one may have come. */
function hold(): void {
  if (!database) throw new Error('it is not open');
  for (let left = tries; ; left--) {
    waitFor(database, readerPatience);
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    begin(database);
    if (logBytes() === 0 || left === 1) break;
    database.exec('ROLLBACK');
  }
  requireSameFile();
  // Who is stopped while he holds others up must not do so for ever; he finds the lock gone then.
  setTimeout(() => process.exit(0), longestHold);
  say({ phase: 'held', journal: journalOf(database), logBytes: logBytes() });
}

/**
 * SQLite's own waiting tries again after up to a tenth of a second, and never gets its turn with a program that does nothing but write and
 * leaves off for microseconds.
 */
function begin(opened: DatabaseSync): void {
  const until = performance.now() + Number(patience);
  waitFor(opened, 0);
  for (;;) {
    try {
      opened.exec('BEGIN IMMEDIATE');
      return;
    } catch (error) {
      if (performance.now() > until || !(error instanceof Error) || !/locked/.test(error.message))
        throw error;
      Atomics.wait(clock, 0, 0, Math.random());
    }
  }
}

const clock = new Int32Array(new SharedArrayBuffer(4));

function release(): void {
  if (!database?.isTransaction) throw new Error('its lock was lost');
  requireSameFile();
  database.exec('ROLLBACK');
  say({ phase: 'released' });
}

function waitFor(opened: DatabaseSync, milliseconds: number): void {
  opened.exec(`PRAGMA busy_timeout = ${Math.round(milliseconds)}`);
}

function journalOf(opened: DatabaseSync): string {
  return String(opened.prepare('PRAGMA journal_mode').get()?.['journal_mode']);
}

function logBytes(): number {
  return lstatSync(`./${name}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

/** Locks are on the file, and another one may have been put in its place. */
function requireSameFile(): void {
  const status = lstatSync(`./${name}`, { throwIfNoEntry: false });
  if (String(status?.ino) !== inode) throw new Error('another file has been put in its place');
}

function answering<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    say({ phase: 'failed', why: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}

function say(report: SqliteReport): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
