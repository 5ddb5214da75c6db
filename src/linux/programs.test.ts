import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { streamProgram } from './programs.ts';

describe('a streamed program', () => {
  /** A program that starts another one, which keeps its output open, and says so. */
  const family = (marker: string, then: string): readonly string[] => [
    '-c',
    `sleep ${marker} & echo started; ${then}`,
  ];

  test('is killed with everything that it has started', async () => {
    const controller = new AbortController();
    const { code } = await streamProgram('sh', family('100001', 'wait'), {
      signal: controller.signal,
      onOutput: () => controller.abort(),
    });
    expect(code).toBe(128);
    expect(running('100001')).toEqual([]);
  });

  test('that ends leaves nothing behind', async () => {
    const { code, output } = await streamProgram('sh', family('100002', 'exit 3'), {});
    expect([code, output]).toEqual([3, 'started\n']);
    expect(running('100002')).toEqual([]);
  });

  test('is not started in vain when the signal has fired already', async () => {
    const { code } = await streamProgram('sleep', ['100003'], { signal: AbortSignal.abort() });
    expect(code).toBe(128);
  });

  test('that is not there says which package has it', async () => {
    await expect(streamProgram('no-such-program', [], { signal: AbortSignal.abort() })).rejects.toMatchObject(
      {
        code: 'missing_tool',
      },
    );
  });
});

/** Processes with this argument that have not ended. */
function running(argument: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
    } catch {
      return false; // it has ended meanwhile
    }
  });
}
