import { afterAll, expect } from 'vitest';
import { markFile } from './marks.ts';
import { endProcessesLeft, leaks, removeRunDirectory } from './run-directory.ts';

markFile();

/** A test file fails when it leaves a mount, a loop device or a process behind, and none of that outlives it. */
afterAll(async () => {
  // The kernel detaches a loop device when the last user is gone and all is written: usually a moment after the unmount, but
  // seconds on a machine whose disk is busy.
  for (let tries = 0; tries < 500 && leaks().length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const left = leaks();
  endProcessesLeft();
  removeRunDirectory();
  expect(left, 'left behind by the tests of this file').toEqual([]);
});
