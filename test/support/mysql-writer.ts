import { openSync, writeSync } from 'node:fs';
import { createConnection } from 'mysql2/promise';

/**
 * A program that adds the same number to tables of several engines, says which is in all of them, and begins anew with the next.
 * Usage: mysql-writer SOCKET ACKNOWLEDGEMENTS
 */

const [socketPath = '', acknowledgements = ''] = process.argv.slice(2);
const connection = await createConnection({ socketPath, user: 'root' });
const answer = openSync(acknowledgements, 'w');
for (let number = 1; ; number++) {
  await connection.query('START TRANSACTION');
  await connection.query(`INSERT INTO app.inno VALUES (${number}, 'x')`);
  await connection.query(`INSERT INTO app.inno2 VALUES (${number}, 'x')`);
  await connection.query('COMMIT');
  await connection.query(`INSERT INTO app.isam VALUES (${number}, repeat('x', 500))`);
  await connection.query(`INSERT INTO app.aria VALUES (${number}, repeat('x', 500))`);
  writeSync(answer, new Uint32Array([number]), 0, 4, 0);
  if (number === 1) process.stdout.write('ready\n');
}
