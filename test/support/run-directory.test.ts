import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
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
