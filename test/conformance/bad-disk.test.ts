import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { patternBytes, writeAt, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import type { TestPool } from '../support/test-pool.ts';
import { fileSystems } from './backends.ts';
import { staged } from './suite.ts';

const MiB = 2 ** 20;

describe.each(fileSystems)('a disk that has lost data, on $name', (backend) => {
  const cleanUp: TestPool[] = [];
  afterEach(async () => {
    for (const home of cleanUp.splice(0)) await home[Symbol.asyncDispose]();
  });

  const can = backend.capabilities['dataChecksums'] ?? '';
  const title = can === true ? '' : ` (skipped: ${can})`;
  test.skipIf(can !== true)(
    `is told with what to do, nothing is left of the attempt, and the rest goes on${title}`,
    async () => {
      const home = await backend.makePool({ bytes: 512 * MiB });
      cleanUp.push(home);
      await home.pool.create('v', { bytes: MiB });
      writePattern(await home.pool.diskPath('v'), 1, 0, MiB);
      await home.pool.seal('v', 't');
      await home.pool.close();
      runProgram('umount', ['--', home.path]);
      const at = readFileSync(home.file).indexOf(patternBytes(1, 4096));
      writeAt(home.file, Buffer.alloc(4096, 'lost'), at);
      createPool({ path: home.path, file: home.file });

      const pool = await home.reopen();
      for (const format of ['raw', 'qcow2'] as const) {
        const error = await refusal(
          () => pool.export('t', join(home.scratch, 'out'), { format }),
          'io_error',
        );
        expect(error.message).toContain('"dmesg"');
        expect(error.message).toContain('btrfs scrub');
      }
      const image = join(home.scratch, 'image.raw');
      writeFileSync(image, patternBytes(2, MiB));
      await pool.import('sound', image);
      await pool.remove('t');
      expect(staged(home)).toEqual([]);
    },
  );
});
