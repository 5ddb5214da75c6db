import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { readProcess } from '../linux/processes.ts';
import { isAlive, thisKeeper } from './keeper.ts';

test('one that has ended keeps nothing, also when nobody has been told yet', async () => {
  // The shell becomes a program that never asks what has become of the child that it got.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const keeper = { ...thisKeeper(), pid, started: readProcess(pid)?.started ?? '' };
    expect(isAlive(keeper)).toBe(true);
    while (readProcess(pid)?.state !== 'Z') await pause(5);
    expect(isAlive(keeper)).toBe(false);
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
});
