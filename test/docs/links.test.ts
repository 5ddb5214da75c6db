import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { repository } from '../support/built.ts';
import { anchorsOf, pages, prose, readPage } from './markdown.ts';

describe.each(pages)('links of %s', (page) => {
  const links = [...prose(readPage(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
  const inside = [...new Set(links)].filter((link) => !/^[a-z]+:/.test(link));

  test('lead to files and headings that are there', () => {
    const broken = inside.filter((link) => {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(repository, target))) return true;
      return anchor !== undefined && !anchorsOf(readPage(target)).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test('that lead outside are plain https', () => {
    expect(links.filter((link) => /^[a-z]+:/.test(link) && !link.startsWith('https://'))).toEqual([]);
  });
});
