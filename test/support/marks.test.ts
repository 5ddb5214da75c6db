import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { commandOf } from './marks.ts';
import { endProcessesLeft, leaks } from './run-directory.ts';

test('what a test has started is found and ended also when whoever has started it has ended', async () => {
  const parent = spawn('sh', ['-c', 'setsid sleep 1000 & echo $!'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [[said]] = (await Promise.all([once(parent.stdout, 'data'), once(parent, 'exit')])) as [
    [Buffer],
    unknown,
  ];
  const pid = Number(said.toString());
  await expect.poll(leaks).toContain(`process ${pid} sleep 1000`);
  endProcessesLeft();
  await once(parent, 'close');
  expect(commandOf(pid)).toBe('');
  expect(leaks()).toEqual([]);
});
