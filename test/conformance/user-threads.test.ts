import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { makeTestPool } from '../support/test-pool.ts';

/** Uses a pool in a thread of the program's own, says so, and ends when it is told to. */
const program = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(async ({ openPool }) => {
    const pool = await openPool(workerData.path, { inline: workerData.inline });
    await pool.create('v', { bytes: 1048576 });
    await pool.snapshot('v@s');
    await pool.clone('v@s', 'w');
    await pool.rollback('v@s');
    await pool.export('w', workerData.target);
    await pool.import('t', workerData.target);
    await pool.close();
    parentPort.once('message', () => {});
    parentPort.postMessage('used');
  });
`;

test.each([true, false])(
  'a thread of a program that used a pool (inline: %s) closes no file of others when it ends',
  async (inline) => {
    await using home = await makeTestPool();
    const module = new URL('../../src/index.ts', import.meta.url).href;
    const workerData = { module, path: home.path, inline, target: `${home.scratch}/out.raw` };
    const thread = new Worker(program, { eval: true, workerData });
    const warnings: unknown[] = [];
    thread.stderr.on('data', (text) => warnings.push(String(text)));
    await once(thread, 'message');
    const opened = Array.from({ length: 40 }, () => openSync('/dev/null', 'r'));
    thread.postMessage('end');
    expect(await once(thread, 'exit')).toEqual([0]);
    for (const fd of opened) {
      expect(fstatSync(fd).isCharacterDevice()).toBe(true);
      closeSync(fd);
    }
    expect(warnings.join('')).not.toContain('descriptor');
  },
);
