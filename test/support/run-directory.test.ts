import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { clearDeadRuns } from './run-directory.ts';

const maker = fileURLToPath(new URL('run-directory-maker.ts', import.meta.url));

test('a run keeps its directory while another clears what is dead; one that was killed loses it', async () => {
  const runs = Array.from({ length: 3 }, () =>
    spawn(process.execPath, [maker], { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  const exits = runs.map((run) => once(run, 'exit'));
  const answers: string[] = [];
  for (const run of runs) run.stdout.on('data', (text: Buffer) => answers.push(text.toString().trim()));
  while (answers.length < runs.length && runs.every((run) => run.exitCode === null)) {
    clearDeadRuns();
    await new Promise(setImmediate);
  }
  expect(answers.map((answer) => answer.split(' ')[0])).toEqual(runs.map(() => '0'));
  const paths = answers.map((answer) => answer.split(' ')[1] ?? '');
  expect(paths.filter((path) => !existsSync(path))).toEqual([]);

  for (const run of runs) run.kill('SIGKILL');
  await Promise.all(exits);
  expect(clearDeadRuns()).toEqual(expect.arrayContaining(paths));
  expect(paths.filter((path) => existsSync(path))).toEqual([]);
});

test('what is left when clearing fails or is killed half way is cleared by the next run', async () => {
  const run = spawn(process.execPath, [maker], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(run, 'exit');
  const [answer] = (await once(run.stdout, 'data')) as [Buffer];
  const path = answer.toString().trim().split(' ')[1] ?? '';
  run.kill('SIGKILL');
  await exit;

  for (let index = 0; index < 30; index++) writeFileSync(join(path, `file-${index}`), '');
  const stubborn = join(path, readdirSync(path).findLast((name) => name !== 'lock') ?? '');
  runProgram('chattr', ['+i', '--', stubborn]);
  try {
    expect(clearDeadRuns).toThrow('EPERM');
  } finally {
    runProgram('chattr', ['-i', '--', stubborn]);
  }
  expect(clearDeadRuns()).toContain(path);
  expect(existsSync(path)).toBe(false);
});
