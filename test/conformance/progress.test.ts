import { describe, expect, test } from 'vitest';
import type { OperationProgress } from '../../src/index.ts';
import { makeTestPool } from '../support/test-pool.ts';

describe.each([
  ['in the calling thread', true],
  ['in worker threads', false],
])('progress of what is done one after the other, %s', (_, inline) => {
  test('remove and exact usage report each, in order', async () => {
    await using made = await makeTestPool({ inline });
    const { pool } = made;
    await pool.create('v', { bytes: 2 ** 20 });
    await pool.cloneMany('v', 'c', 12);
    const names = Array.from({ length: 12 }, (_each, index) => `c-${index + 1}`);
    const reported = async (run: (onProgress: (progress: OperationProgress) => void) => Promise<unknown>) => {
      const all: OperationProgress[] = [];
      await run((progress) => void all.push(progress));
      return all;
    };
    const expected = (step: string, first: number): OperationProgress[] =>
      names.map((_each, index) => ({ step, done: index + first, total: 12, fraction: (index + first) / 12 }));
    expect(await reported((onProgress) => pool.usage(names, { exact: true, onProgress }))).toEqual(
      expected('measuring', 0),
    );
    expect(await reported((onProgress) => pool.usage(names, { onProgress }))).toEqual([]);
    expect(await reported((onProgress) => pool.remove(names, { onProgress, dryRun: true }))).toEqual([]);
    expect(await reported((onProgress) => pool.remove(names, { onProgress }))).toEqual(
      expected('removing', 1),
    );
  });
});
