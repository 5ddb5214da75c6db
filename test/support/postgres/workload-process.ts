import { openSync, writeSync } from 'node:fs';
import { Client } from '../../../src/consistency/postgres/postgres-client.ts';

/**
 * Commits transactions on four connections for as long as its standard input is open, and appends the number of each to a file when the
 * server has acknowledged it. Usage: SOCKET_DIRECTORY PORT FILE FAR, where FAR is 1 when there is a second table.
 */

const [host = '', port = '', path = '', far = '0'] = process.argv.slice(2);
const file = openSync(path, 'a');
let number = 0;
let isOver = false;
process.stdin.on('data', () => undefined);
process.stdin.on('close', () => {
  isOver = true;
});

/** The same number goes into each of two tables, in one transaction. */
const insert =
  far === '1'
    ? 'WITH a AS (INSERT INTO near VALUES ($1) RETURNING n) INSERT INTO far SELECT n FROM a'
    : 'INSERT INTO near VALUES ($1)';

await Promise.all(Array.from({ length: 4 }, work));

async function work(): Promise<void> {
  const client = new Client({ host, port: Number(port), user: 'worker', database: 'postgres', ssl: false });
  // The end of the server is the end of the work.
  client.on('error', () => undefined);
  try {
    await client.connect();
    while (!isOver) {
      const own = ++number;
      await client.query(insert, [own]);
      writeSync(file, `${own}\n`);
    }
    await client.end();
  } catch {
    isOver = true;
  }
}
