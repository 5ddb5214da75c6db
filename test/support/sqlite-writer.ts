import { openSync, writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/**
 * A program that adds the same number to two tables in one transaction, says which is in, and begins anew with the next.
 * Usage: sqlite-writer DATABASE JOURNAL ACKNOWLEDGEMENTS PAUSE (in milliseconds)
 */

const [path = '', journal = '', acknowledgements = '', pause = '0'] = process.argv.slice(2);
const database = new DatabaseSync(path);
database.exec(`
  PRAGMA busy_timeout = 60000; PRAGMA journal_mode = ${journal}; PRAGMA synchronous = OFF;
  PRAGMA wal_autocheckpoint = 0;
  CREATE TABLE a (n INTEGER PRIMARY KEY, filling BLOB); CREATE TABLE b (n INTEGER PRIMARY KEY, filling BLOB);
`);
const answer = openSync(acknowledgements, 'w');
const inserts = ['a', 'b'].map((table) =>
  database.prepare(`INSERT INTO ${table} VALUES (?, randomblob(1000))`),
);
const clock = new Int32Array(new SharedArrayBuffer(4));
for (let number = 1; ; number++) {
  database.exec('BEGIN IMMEDIATE');
  for (const insert of inserts) insert.run(number);
  database.exec('COMMIT');
  writeSync(answer, new Uint32Array([number]), 0, 4, 0);
  if (pause !== '0') Atomics.wait(clock, 0, 0, Number(pause));
  if (number === 1) process.stdout.write('ready\n');
}
