import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { coppice, type Ran, shell, startCoppice } from './command.ts';

describe('coppice guard', () => {
  let [pool, tree, file] = ['', '', ''];
  const guard = (...words: string[]): Ran => coppice(pool, 'guard', 'crypt', ...words);
  const state = (): string => readFileSync(file, 'utf8').trim();
  const status = (): unknown => JSON.parse(guard('--status', '--json').stdout);

  beforeAll(() => {
    pool = join(scratchDirectory('guard'), 'pool');
    expect(coppice(pool, 'pool', 'create', '--size', '8G').code).toBe(0);
    expect(coppice(pool, 'create', 'crypt', '--kind', 'tree').code).toBe(0);
    tree = coppice(pool, 'path', 'crypt').stdout.trim();
    file = join(tree, 'version');
  });
  afterAll(() => {
    if (existsSync(join(pool, 'volumes'))) runProgram('umount', ['--', pool]);
  });
  beforeEach(() => writeFileSync(file, '1'));

  test.each([
    [['sh', '-c', 'echo 2 > "$0"; exit 7'], [], 7],
    [['sh', '-c', 'echo 2 > "$0"; kill -9 $$'], [], 137],
    [['sh', '-c', 'echo 2 > "$0"; sleep 60'], ['--timeout', '0.5'], 124],
    [['sh', '-c', 'echo 2 > "$0"'], ['--check', '/bin/false'], 1],
    [['sh', '-c', 'echo 2 > "$0"'], ['--check', '/nowhere/at-all'], 127],
  ])('%j with %j is undone, and its exit code is %i', (command, flags, code) => {
    const ran = guard(...flags, '--', ...command, file);
    expect(ran.stderr).toContain('it is back at crypt@guard-');
    expect(ran.code).toBe(code);
    expect(state()).toBe('1');
    expect(status()).toEqual([]);
  });

  test.each([
    [['/nowhere/at-all'], [], 127, 'There is no program /nowhere/at-all.'],
    [['no-such-program'], [], 127, 'There is no program no-such-program.'],
    [['/etc/passwd'], [], 126, '/etc/passwd can not be run'],
    [['true'], ['--check', 'no-such-check'], 127, 'There is no program no-such-check.'],
    [['true'], ['--check', ' '], 2, 'The check is empty.'],
  ])('%j with %j is refused before anything is done, with %i', (command, flags, code, said) => {
    const snapshots = (): string => coppice(pool, 'list', '--type', 'snapshot', '--json').stdout;
    const before = snapshots();
    const ran = guard(...flags, '--', ...command, file);
    expect(ran.stderr).toContain(said);
    expect(ran.code).toBe(code);
    expect(snapshots()).toBe(before);
  });

  test('what succeeds stays, and standard output is all the result where that is asked for', () => {
    const ran = guard('--json', '--check', '/bin/true', '--', 'sh', '-c', 'echo said; echo 2 > "$0"', file);
    expect(ran.code).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({ kept: true, changes: { counts: { changed: 1 } } });
    expect(ran.stderr).toContain('said');
    expect(state()).toBe('2');
  });

  test('what the command has left running is ended before it is undone', () => {
    const ran = guard(
      '--',
      'sh',
      '-c',
      '(while :; do echo 2 > "$0"; sleep 0.01; done) & sleep 0.2; exit 1',
      file,
    );
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain('it is back at');
    expect(state()).toBe('1');
  });

  test('who lives in the tree that he changes has it undone as soon as he has let go', async () => {
    const ran = shell(
      pool,
      `cd ${tree} && coppice guard crypt -- sh -c 'echo 2 > version; exit 5'; echo "code $?" >&2`,
    );
    expect(ran.stderr).toContain('code 5');
    expect(ran.stderr).toContain('as soon as those who have started this have let go');
    while ((status() as unknown[]).length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(state()).toBe('1');
  });

  test('a signal undoes it', async () => {
    const running = startCoppice(pool, 'guard', 'crypt', '--', 'sh', '-c', 'echo 2 > "$0"; sleep 60', file);
    while (state() !== '2') await new Promise((resolve) => setTimeout(resolve, 20));
    running.process.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 130 });
    expect(state()).toBe('1');
  });

  test('one within another, also of another volume', () => {
    expect(coppice(pool, 'create', 'other', '--size', '1M').code).toBe(0);
    const inner = (volume: string, code: number): string =>
      `coppice guard ${volume} -- sh -c 'echo inner > ${file}; exit ${code}' || true`;
    // The variable goes through a program that knows nothing of it.
    const ran = shell(
      pool,
      `export -f coppice; coppice guard crypt -- bash -c "echo outer > ${file}; ${inner('crypt', 1)}; ${inner('other', 0)}; ${inner('crypt', 1)}"`,
    );
    expect(ran.stderr).toContain('The change to other stays');
    expect(ran.stderr).toContain('The change to crypt stays');
    expect(ran.code).toBe(0);
    expect(state()).toBe('inner');
  });
});
