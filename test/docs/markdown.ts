import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../support/built.ts';

/** The pages for readers, as paths from the repository's root. */
export const pages: readonly string[] = [
  ...readdirSync(repository).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(repository, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

export function readPage(page: string): string {
  return readFileSync(join(repository, page), 'utf8');
}

/**
 * An example that is run. In a page it is a fenced block behind `<!-- test -->`, or `<!-- test exit=5 -->` when every command
 * in it must fail so. What has to be there first, and would bore a reader, stands in a comment that begins with `<!-- test setup`.
 */
export interface Example {
  readonly line: number;
  readonly language: 'setup' | 'console' | 'sh' | 'ts';
  readonly exit: number;
  readonly text: string;
}

const marked =
  /^<!-- test setup\n(?<setup>[\s\S]*?)\n-->$|^<!-- test(?: exit=(?<exit>\d+))? -->\n```(?<language>\w+)\n(?<text>[\s\S]*?)\n```$/gm;

export function examplesOf(page: string): Example[] {
  const text = readPage(page);
  return [...text.matchAll(marked)].map((match) => {
    const { setup, exit, language, text: body } = match.groups ?? {};
    return {
      line: text.slice(0, match.index).split('\n').length,
      language: setup === undefined ? known(page, language) : 'setup',
      exit: Number(exit ?? 0),
      text: setup ?? body ?? '',
    };
  });
}

/** How many marks a page has: a mark that is not followed by a block would else be skipped without a word. */
export function countMarks(page: string): number {
  return readPage(page).match(/^<!-- test/gm)?.length ?? 0;
}

function known(page: string, language: string | undefined): Example['language'] {
  if (language === 'console' || language === 'sh' || language === 'ts') return language;
  throw new Error(`${page}: examples in ${language} can't be run`);
}

/** The text without fenced blocks and inline code. */
export function prose(text: string): string {
  return text
    .replace(/^( *)```[\s\S]*?^\1```$/gm, '')
    .replace(/^(?: {4}.*\n)+/gm, '')
    .replace(/`[^`\n]*`/g, 'code');
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const headings = text.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#{1,6} +(.+?) *$/gm);
  return new Set(
    [...headings].map(([, title = '']) => {
      const anchor = title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}_\- ]/gu, '')
        .replaceAll(' ', '-');
      const count = seen.get(anchor) ?? 0;
      seen.set(anchor, count + 1);
      return count === 0 ? anchor : `${anchor}-${count}`;
    }),
  );
}
