import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { readProcess, readProcesses } from '../../src/linux/processes.ts';
import { scratchDirectory } from '../support/devices.ts';
import { startScript } from '../support/programs.ts';
import { declared, quiesced, scopeOf } from '../support/quiesced.ts';

interface Hook {
  readonly program: string;
  /** What it was run with, in order. */
  runs(): string[];
}

/** A hook that writes down each of its runs, and does as it is told. */
function hook(commands = ''): Hook {
  const directory = scratchDirectory('hook');
  const [program, log] = [join(directory, 'hook'), join(directory, 'log')];
  writeFileSync(program, `#!/bin/sh\necho "$*" >> ${log}\n${commands}\n`);
  chmodSync(program, 0o755);
  return {
    program,
    runs: () => (existsSync(log) ? readFileSync(log, 'utf8').split('\n').filter(Boolean) : []),
  };
}

const scope = scopeOf({ directory: '/srv/app' });

test('runs before and after, and knows what it is about', async () => {
  process.env['SECRET_OF_OURS'] = 'x';
  const { program, runs } = hook('env | sort | grep -v ^PWD= | grep -v ^_= >> $(dirname $0)/log');
  const { state } = await quiesced(`hook=${program}`, scope, () => {
    expect(runs()[0]).toBe('pre');
    expect(runs()).not.toContain('post');
  });
  const lines = runs().filter((line) => !/^(PATH|LANG|SHLVL|OLDPWD)=/.test(line));
  const both = ['COPPICE_DIRECTORY=/srv/app'];
  expect(lines).toEqual([
    ...['pre', ...both, 'COPPICE_PHASE=pre', 'COPPICE_VOLUME=app'],
    ...['post', ...both, 'COPPICE_PHASE=post', 'COPPICE_VOLUME=app'],
  ]);
  expect(state).toEqual({ name: 'hook', level: 'application', recovery: 'none', details: { hook: program } });
});

test.each([
  [
    'fails',
    'echo "no\u0007luck"; [ $1 = post ] || exit 3',
    /hook pre failed with exit code 3; it said: no luck\./,
  ],
  ['hangs', '[ $1 = post ] || sleep 1000', /hook pre took too long/],
  [
    'hangs and will not hear',
    "trap '' TERM; [ $1 = post ] || { sleep 1000; sleep 1000; }",
    /hook pre took too long/,
  ],
  ['is killed', '[ $1 = post ] || kill -9 $$', /hook pre was killed by SIGKILL; it said nothing\./],
])('that %s before has its end, too', async (_, commands, sentence) => {
  const { program, runs } = hook(commands);
  await expect(quiesced(`hook=${program},timeout=0.5`, scope, () => undefined)).rejects.toThrow(sentence);
  expect(runs()).toEqual(['pre', 'post']);
});

test('that fails after fails the snapshot', async () => {
  const { program, runs } = hook('[ $1 = pre ] || exit 4');
  await expect(quiesced(`hook=${program}`, scope, () => undefined)).rejects.toThrow(
    /hook post failed with exit code 4/,
  );
  expect(runs()).toEqual(['pre', 'post']);
});

test('may leave something running', async () => {
  const { program } = hook(
    '[ $1 = post ] && kill $(cat $(dirname $0)/pid) || { sleep 1000 & echo $! > $(dirname $0)/pid; }',
  );
  await quiesced(`hook=${program}`, scope, () => undefined);
});

test('has its end when the snapshot takes too long, and only once', async () => {
  const { program, runs } = hook();
  const late = quiesced(`hook=${program},timeout=0.2`, scope, () => until(() => runs().length === 2));
  await expect(late).rejects.toThrow(/post was run before the snapshot was complete/);
  expect(runs()).toEqual(['pre', 'post']);
});

test('is not run when there is no holding', async () => {
  const { program, runs } = hook();
  const quiescer = await declared(`hook=${program}`);
  await quiescer.prepare(scope, new AbortController().signal);
  await quiescer.release(new AbortController().signal);
  await quiescer[Symbol.asyncDispose]();
  expect(runs()).toEqual([]);
});

test.each(['prepare', 'holding', 'hold'])('has its end when who runs it is killed after %s', async (step) => {
  const { program, runs } = hook(
    '[ $1 = post ] || [ ! -e $(dirname $0)/slow ] || { sleep 0.3; echo slept >> $(dirname $0)/log; }',
  );
  if (step === 'holding') writeFileSync(join(program, '..', 'slow'), '');
  await using child = startScript('quiesce-child', [`hook=${program}`, '/srv/app', step]);
  await child.said(step);
  if (step === 'holding') await until(() => runs().length > 0);
  child.child.kill('SIGKILL');
  await child.ended;
  await until(() => runnersOf(program).length === 0);
  expect(runs()).toEqual(step === 'prepare' ? [] : ['pre', 'post']);
});

test('has its end when who runs it in our place is killed', async () => {
  const { program, runs } = hook();
  await quiesced(`hook=${program}`, scope, () => {
    for (const pid of runnersOf(program)) process.kill(pid, 'SIGKILL');
  });
  expect(runs()).toEqual(['pre', 'post']);
});

test('that others could have put there is refused', async () => {
  const { program, runs } = hook();
  const refused = async (path: string, sentence: RegExp): Promise<void> => {
    await expect(quiesced(`hook=${path}`, scope, () => undefined)).rejects.toThrow(sentence);
  };
  chmodSync(program, 0o777);
  await refused(program, /can be written by others/);
  chmodSync(program, 0o644);
  await refused(program, /make it executable/);
  chmodSync(program, 0o755);
  chmodSync(join(program, '..'), 0o777);
  await refused(program, /others than its owner can write to the directory/);
  chmodSync(join(program, '..'), 0o755);
  await refused(`${program}-of-nobody`, /There is no/);
  await refused('relative', /absolute path/);
  await refused(`${program},timeout=0`, /no number of seconds/);
  expect(runs()).toEqual([]);
});

function runnersOf(program: string): number[] {
  return readProcesses().flatMap(({ pid }) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      return command.includes('hook-runner') && command.includes(program) && readProcess(pid) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !condition(); tries++) await delay(10);
  expect(condition()).toBe(true);
}
