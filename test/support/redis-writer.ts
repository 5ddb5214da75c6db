import { openSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { RedisConnection } from '../../src/consistency/redis/connection.ts';

/**
 * A program that gives the same number to two keys, one after the other, says which both have, and begins anew with the next.
 * Usage: redis-writer SOCKET ACKNOWLEDGEMENTS
 */

const [socket = '', acknowledgements = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const connection = new RedisConnection(connect(socket));
const answer = openSync(acknowledgements, 'w');
for (let number = 1; ; number++) {
  for (const key of ['a', 'b']) await connection.ask(signal, 'SET', key, String(number));
  writeSync(answer, new Uint32Array([number]), 0, 4, 0);
  if (number === 1) process.stdout.write('ready\n');
}
