import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { exitCodes } from '../../src/cli/failure.ts';
import { manyExtents } from '../../src/drivers/btrfs/payload.ts';
import { errorCodes } from '../../src/model/errors.ts';
import { rememberedAncestors } from '../../src/model/metadata.ts';
import { builtCommand, repository } from '../support/built.ts';
import { readPage } from './markdown.ts';

describe('docs/command-line.md', () => {
  const page = readPage('docs/command-line.md');
  let command = '';
  beforeAll(() => {
    command = builtCommand();
  });

  const help = (...words: string[]): string =>
    execFileSync(process.execPath, [command, ...words, '--help'], { encoding: 'utf8' });
  const commands = (): string[] => {
    const below = (...words: string[]): string[] =>
      [...(help(...words).split('\nCOMMANDS\n')[1] ?? '').matchAll(/^ {2}(\w+)/gm)].map(([, name = '']) =>
        [...words, name].join(' '),
      );
    const groups = ['pool', 'policy', 'token'];
    return [...below().filter((name) => !groups.includes(name)), ...groups.flatMap((group) => below(group))];
  };

  test('has each command once, and none that is not there', () => {
    const sections = [...page.matchAll(/^### ((?:[a-z]+ ?)+)/gm)].map(([, name = '']) => name.trim());
    expect(sections.sort()).toEqual(commands().sort());
  });

  test('has each flag of each command, and none that is not there', () => {
    const common = flagsIn(section('## All commands').split('\n### ')[0] ?? '');
    for (const name of commands()) {
      const [, flags = ''] = help(...name.split(' ')).split('\nFLAGS\n');
      const real = flagsIn(flags.split('\nARGUMENTS')[0] ?? '');
      const written = section(`### ${name}`).replace(/with `--\w[^`]*`/g, '');
      // Where a common flag means something else, it is written once more.
      const own = (flag: string): boolean => !common.includes(flag);
      expect(flagsIn(written).filter(own), name).toEqual(real.filter(own));
    }
  });

  test('says each exit code', () => {
    const written = [...section('## Exit codes').matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, codes = '']) =>
      codes.split(', ').map(Number),
    );
    expect(written).toEqual([...new Set([0, 10, 11, ...Object.values(exitCodes)])].sort((a, b) => a - b));
  });

  function section(heading: string): string {
    const start = page.indexOf(`\n${heading}`);
    expect(start, heading).toBeGreaterThan(-1);
    const depth = heading.split(' ', 1)[0]?.length ?? 2;
    const rest = page.slice(start + heading.length);
    const end = rest.search(new RegExp(`\n#{2,${depth}} `));
    return end < 0 ? rest : rest.slice(0, end);
  }
});

describe('docs/errors.md', () => {
  const page = readPage('docs/errors.md');

  test.each(errorCodes)('has %s with its exit code', (code) => {
    expect(page).toContain(`| [\`${code}\`](#${code}) | ${exitCodes[code]} |`);
    expect(page).toMatch(new RegExp(`^## ${code}\n\n> coppice: `, 'm'));
  });

  test('has no code that is not there', () => {
    expect([...page.matchAll(/^## (\w+)$/gm)].map(([, code]) => code)).toEqual(
      [...errorCodes].sort((a, b) => page.indexOf(`## ${a}\n`) - page.indexOf(`## ${b}\n`)),
    );
  });
});

test('numbers in the pages are those of the code', () => {
  const page = readPage('docs/templates-and-volumes.md').replace(/\s+/g, ' ');
  expect(page).toContain(`up to ${manyExtents} extents`);
  expect(page).toContain(`no more than ${manyExtents + 1} of them`);
  expect(readPage('docs/usage-and-lineage.md')).toContain(`its ${rememberedAncestors} nearest ancestors`);
});

test('the table of folders in CONTRIBUTING.md names what is there', () => {
  const named = [...readPage('CONTRIBUTING.md').matchAll(/^\| `((?:src|test)\/[\w-]+)` \|/gm)].map(
    ([, folder]) => folder,
  );
  const there = ['src', 'test'].flatMap((folder) =>
    readdirSync(join(repository, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}`),
  );
  expect(named.sort()).toEqual(there.sort());
});

function flagsIn(text: string): string[] {
  const flags = [...text.matchAll(/--([a-z][a-z0-9-]*)/g)].map(([, flag = '']) => flag);
  return [...new Set(flags)].sort();
}
