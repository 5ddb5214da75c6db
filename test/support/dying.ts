import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import { observeCalls } from '../../src/linux/system-calls.ts';

/** Imported by a program, and by its threads: kills it before the Nth system call that all of them make together. */

export const dieAtVariable = 'COPPICE_TEST_DIE_AT';

const key = 'system calls';
const dieAt = Number(process.env[dieAtVariable] ?? 0);

if (dieAt > 0) {
  if (isMainThread) setEnvironmentData(key, new SharedArrayBuffer(4));
  const calls = new Int32Array(getEnvironmentData(key) as SharedArrayBuffer);
  observeCalls(() => {
    if (Atomics.add(calls, 0, 1) + 1 === dieAt) process.kill(process.pid, 'SIGKILL');
    return undefined;
  });
}
