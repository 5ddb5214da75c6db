import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { section, title, verbatim } from '../../scripts/manual/roff.ts';
import { exitMeanings } from '../../src/cli/exit-meanings.ts';
import { builtCommand, repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { readPage } from './markdown.ts';

const sections = [
  'NAME',
  'SYNOPSIS',
  'DESCRIPTION',
  'OPTIONS',
  'EXAMPLES',
  'EXIT STATUS',
  'ENVIRONMENT',
  'SEE ALSO',
];
const epoch = 1_700_000_000;

describe('the manual', () => {
  const folder = scratchDirectory('man');
  let pages: string[] = [];
  const read = (page: string): string => readFileSync(join(folder, page), 'utf8');
  beforeAll(() => {
    write(folder);
    pages = readdirSync(folder);
  });

  test('has a page for each command and group, with all of its flags and examples', () => {
    const command = builtCommand();
    const help = (words: string[]): string =>
      execFileSync(process.execPath, [command, ...words, '--help'], { encoding: 'utf8' });
    const below = (words: string[]): string[][] => {
      const [, list] = help(words).split('\nCOMMANDS\n');
      if (list === undefined) return [words];
      const names = [...list.matchAll(/^ {2}(\w+)/gm)].map(([, name = '']) => name);
      return [words, ...names.flatMap((name) => below([...words, name]))];
    };
    const all = below([]);
    expect(pages).toEqual(all.map((words) => `${['coppice', ...words].join('-')}.1`).sort());
    for (const words of all) {
      const [usage = '', list] = help(words).split('\nCOMMANDS\n');
      if (list !== undefined) continue;
      const page = read(`${['coppice', ...words].join('-')}.1`)
        .replaceAll('\\-', '-')
        .replaceAll('\\(aq', "'");
      for (const [flag] of usage.matchAll(/--[a-z0-9-]{2,}/g)) expect(page, words.join(' ')).toContain(flag);
      const [, examples = ''] = usage.split('\nEXAMPLES\n');
      for (const example of (examples.split('\n\n')[0] ?? '').split('\n'))
        expect(page, words.join(' ')).toContain(`\n${example.trim()}\n`);
    }
  });

  test('each page has all sections, in order, and none is empty', () => {
    for (const page of pages) {
      const parts = read(page)
        .split(/^\.SH "(.*)"\n/m)
        .slice(1);
      const names = parts.filter((_, index) => index % 2 === 0);
      expect(
        names.filter((name) => sections.includes(name)),
        page,
      ).toEqual(sections);
      for (const [index, name] of names.entries())
        expect(parts[2 * index + 1]?.replace(/^\.E[XE]$/gm, '').trim(), `${page} ${name}`).not.toBe('');
    }
  });

  test('refers only to pages that there are', () => {
    for (const page of pages)
      for (const [, name = ''] of read(page).matchAll(/^\.BR (\S+) \(1\)/gm))
        expect(pages, page).toContain(`${name.replaceAll('\\-', '-')}.1`);
  });

  test('is the same byte for byte when it is made again, with the date that it is told', () => {
    const again = scratchDirectory('man-again');
    write(again);
    for (const page of pages) {
      expect(readFileSync(join(again, page), 'utf8')).toBe(read(page));
      expect(read(page)).toContain('"2023-11-14"');
    }
  });

  const linters: Array<[program: string, path: string, args: string[]]> = [
    ['mandoc', '/usr/bin/mandoc', ['-T', 'lint']],
    ['groff', '/usr/bin/groff', ['-ww', '-man', '-z', '-T', 'utf8']],
  ];
  for (const [program, path, args] of linters) {
    const skipped = skippedWithout(path);
    test.skipIf(skipped !== '')(`${program} finds nothing wrong${skipped}`, () => {
      const { status, stdout, stderr } = spawnSync(
        program,
        [...args, ...pages.map((page) => join(folder, page))],
        { encoding: 'utf8' },
      );
      expect([status, stdout, stderr]).toEqual([0, '', '']);
    });
  }

  const skipped = skippedWithout('/usr/bin/mandoc');
  test.skipIf(skipped !== '')(`shows what is to be typed as it is, whatever is in it${skipped}`, () => {
    const visible = fc
      .string({ minLength: 1, unit: 'grapheme-ascii' })
      .map((text) => text.trim())
      .filter(Boolean);
    const lines = fc.sample(visible, 500);
    const file = join(folder, '..', 'lines.1');
    const page = [
      title('lines', { version: '1', date: '2023-11-14' }),
      section('EXAMPLES', verbatim(lines)),
      '',
    ];
    writeFileSync(file, page.join('\n'));
    const shown = execFileSync('mandoc', ['-T', 'ascii', '-O', 'indent=0', file], { encoding: 'utf8' });
    const [, body = ''] = shown.replace(/.[\b]/g, '').split('EXAMPLES\n');
    expect(
      body
        .split('\n')
        .slice(0, lines.length)
        .map((line) => line.trim()),
    ).toEqual(lines);
  });
});

test('docs/command-line.md gives the exit codes the same meanings', () => {
  const [, part = ''] = readPage('docs/command-line.md').split('\n## Exit codes\n');
  const rows = [...(part.split('\n## ')[0] ?? '').matchAll(/^\| ([\d, ]+) \| (.*) \|$/gm)];
  expect(rows.map(([, codes, meaning]) => [codes, meaning])).toEqual(exitMeanings);
});

function write(folder: string): void {
  execFileSync(process.execPath, [join(repository, 'scripts', 'man.ts'), folder], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  });
}
