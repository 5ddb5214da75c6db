import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { skippedWithout } from '../support/needs.ts';
import { coppice, onTerminal } from './command.ts';
import { commandLinePool, done } from './session.ts';

const { directory, pool } = commandLinePool();
const skipped = skippedWithout('/usr/bin/script');

const long = 'a-name-that-is-longer-than-most-lines-of-a-narrow-terminal';
const names = [`${long}-1`, `${long}-2`, 'vm'];

beforeAll(() => {
  for (const name of names) done(coppice(pool, 'clone', 'base', name));
  done(coppice(pool, 'clone', `${long}-1`, 'child'));
  done(coppice(pool, 'snapshot', `${long}-1@before-the-upgrade`));
});

describe.skipIf(skipped !== '').each([40, 80, 200])(`on a terminal of %i columns${skipped}`, (columns) => {
  const screenOf = async (line: string): Promise<string> => {
    const { screen, code } = await onTerminal(pool, line, '', '', columns);
    expect(code).toBe(0);
    return screen;
  };

  test.each(['list', 'list --type snapshot', 'usage'])('%s fits, and names stay apart', async (command) => {
    const lines = (await screenOf(`coppice ${command}`)).trimEnd().split('\r\n');
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(columns);
    const first = lines.slice(1).map((line) => line.split(' ')[0] ?? '');
    expect(new Set(first).size).toBe(first.length);
    const whole = done(coppice(pool, ...command.split(' ')))
      .trimEnd()
      .split('\n');
    expect(lines.length).toBe(whole.length);
    if (columns === 200) expect(lines).toEqual(whole);
    if (columns === 40) expect(lines.join('\n')).toContain('…');
  });

  test('progress keeps to its line, and to standard error', async () => {
    const [output, log] = [join(directory, 'output'), `many-${columns}`];
    const clones = await screenOf(`coppice clone base ${log} --count 300 > ${output}`);
    expect(readFileSync(output, 'utf8')).toBe(`Cloned base to 300 volumes: ${log}-1 to ${log}-300.\n`);
    drawnWithin(clones, columns, /clone base: cloning .*\d%/);
    const all = Array.from({ length: 300 }, (_, index) => `${log}-${index + 1}`).join(' ');
    drawnWithin(
      await screenOf(`coppice usage --exact ${all} > ${output}`),
      columns,
      /usage: measuring .*\d%/,
    );
    expect(readFileSync(output, 'utf8').split('\n').length).toBe(302);
    drawnWithin(await screenOf(`coppice remove ${all} > ${output}`), columns, /remove: removing .*\d%/);
    expect(readFileSync(output, 'utf8')).toMatch(/^Removed [^\n]*\.\n$/);
  });
});

test('nothing of progress, and nothing cut, where there is no terminal, whatever COLUMNS says', () => {
  const { stdout } = coppice(pool, 'list');
  for (const name of names) expect(stdout).toContain(`${name} `);
  expect(done(coppice(pool, 'clone', 'base', 'piped', '--count', '20'))).toBe(
    'Cloned base to 20 volumes: piped-1 to piped-20.\n',
  );
});

test.skipIf(skipped !== '')(`COLUMNS goes before the size of the terminal${skipped}`, async () => {
  const { screen } = await onTerminal(pool, 'export COLUMNS=30; coppice list', '', '', 200);
  for (const line of screen.trimEnd().split('\r\n')) expect(line.length).toBeLessThanOrEqual(30);
});

/** Each drawing begins at the start of the line and erases it; the last erases it for good. */
function drawnWithin(screen: string, columns: number, pattern: RegExp): void {
  const drawings = screen.split('\r\u001b[K');
  expect(drawings.shift()).toBe('');
  expect(drawings.pop()).toBe('');
  expect(drawings.length).toBeGreaterThan(0);
  for (const text of drawings) {
    expect(text).toMatch(pattern);
    expect(text).not.toContain('\n');
    expect(text.length).toBeLessThan(columns);
  }
}
