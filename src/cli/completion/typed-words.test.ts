import fc from 'fast-check';
import { expect, test } from 'vitest';
import { typedWords } from './typed-words.ts';

const texts = (line: string): string[] => typedWords(line, '/home/me').map(({ text }) => text);

test('words come out as they were before they were quoted, whatever way', () => {
  const quoting = fc.constantFrom(
    (word: string) => `'${word.replaceAll("'", "'\\''")}'`,
    (word: string) => `"${word.replace(/[\\"$`]/g, '\\$&')}"`,
    (word: string) => word.replace(/./gsu, '\\$&'),
  );
  const word = fc.tuple(fc.string({ minLength: 1, unit: 'grapheme-ascii' }), quoting);
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const line = words.map(([text, quote]) => `${quote(text)} `).join('');
      expect(texts(line)).toEqual([...words.map(([text]) => text), '']);
    }),
  );
});

test('a line may end anywhere: nothing of it is lost, and its end is the word under the cursor', () => {
  const pieces = fc.constantFrom('a', ' ', "'", '"', '\\', '~', '/', '\n');
  const visible = (text: string): string => text.replace(/\s/g, '');
  fc.assert(
    fc.property(fc.string({ unit: pieces }), (line) => {
      const words = typedWords(line, undefined).map(({ raw }) => raw);
      expect(visible(words.join(''))).toBe(visible(line));
      expect(line.endsWith(words.at(-1) ?? '?')).toBe(true);
    }),
  );
});

test.each([
  ['', ['']],
  ['coppice', ['coppice']],
  ['coppice show ', ['coppice', 'show', '']],
  ['coppice show "vm', ['coppice', 'show', 'vm']],
  ['coppice --pool ~/p ~me ~', ['coppice', '--pool', '/home/me/p', '~me', '/home/me']],
  ["coppice '~/p' a~/b $HOME", ['coppice', '~/p', 'a~/b', '$HOME']],
])('%j', (line, words) => {
  expect(texts(line)).toEqual(words);
});
