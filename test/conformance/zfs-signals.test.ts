import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { backends } from './backends.ts';
import { conformance } from './suite.ts';

/** ZFS breaks off what it lists, and what a program does to several, when a signal comes: that a child has ended is enough. */
if (!backends.some(({ name }) => name === 'zfs'))
  test.skip('signals on zfs (skipped: it runs in a guest, see test/guest)', () => {});
else {
  conformance('signals on zfs alone', (suite) => {
    test('leave nothing half done, and nothing half seen', async () => {
      const { pool } = suite;
      const names = Array.from({ length: 12 }, () => suite.name());
      for (const name of names) await pool.create(name, { bytes: 2 ** 20 });
      await using _rain = await signals();
      for (const round of [1, 2]) {
        await pool.snapshot(names, { name: `s${round}` });
        for (const name of names.slice(0, 5)) expect(await pool.listSnapshots(name)).toHaveLength(round);
        expect(await pool.list()).toHaveLength(names.length);
      }
      await pool.remove(names, { withSnapshots: true });
    });
  });
}

/** Many a second come to this process, which hears them: more than it takes to wait for a transaction group. */
async function signals(): Promise<AsyncDisposable> {
  const hear = (): void => undefined;
  process.on('SIGUSR2', hear);
  const child = spawn('sh', ['-c', `while kill -USR2 ${process.pid}; do sleep 0.01; done`], {
    stdio: 'ignore',
  });
  await once(child, 'spawn');
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await once(child, 'exit');
      process.off('SIGUSR2', hear);
    },
  };
}
