import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { makeTestPool } from '../../../test/support/test-pool.ts';
import { runningTransaction } from '../../linux/btrfs.ts';
import { Descriptor } from '../../linux/files.ts';
import { observeCalls } from '../../linux/system-calls.ts';
import { givingWay } from './pace.ts';

const many = 50;

afterEach(() => observeCalls(undefined));

test('while others commit, what is destroyed lies in commits of its own', async () => {
  await using home = await makeTestPool();
  using root = new Descriptor(openSync(home.path, 'r'));
  const module = new URL('../../index.ts', import.meta.url).href;
  const script = `
    const { openPool } = await import(${JSON.stringify(module)});
    const pool = await openPool(${JSON.stringify(home.path)}, { inline: true });
    for (let count = 0; ; count++) {
      await pool.create('other-' + count, { bytes: 4096 });
      if (count === 0) console.log('begun');
    }
  `;
  const other = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(other.stdout, 'data');
  const transactions = new Set<bigint>();
  const giveWay = givingWay(root.fd);
  for (let count = 0; count < many; count++) {
    transactions.add(runningTransaction(root.fd));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // as long as one takes
    giveWay();
  }
  other.kill('SIGKILL');
  await once(other, 'close');
  // Clears what it was at when it was killed.
  await home.reopen();
  // The first few see nobody commit, and the other may be held up now and then for longer than this waits.
  expect(transactions.size).toBeGreaterThan(many / 2);
});

test('who is alone asks once for each, and waits for nobody', async () => {
  await using home = await makeTestPool();
  using root = new Descriptor(openSync(home.path, 'r'));
  let asked = 0;
  observeCalls((_, subject) => {
    if (subject === 'FS_INFO') asked++;
    return undefined;
  });
  const giveWay = givingWay(root.fd);
  for (let count = 0; count < many; count++) giveWay();
  expect(asked).toBe(many);
});
