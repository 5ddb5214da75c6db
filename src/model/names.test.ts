import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CoppiceError } from './errors.ts';
import {
  formatReference,
  parseName,
  parseReference,
  parseSnapshotReference,
  parseVolumeName,
} from './names.ts';

const letters = 'ABCXYZabcxyz019';
const name = fc
  .tuple(
    fc.constantFrom(...letters),
    fc.string({ unit: fc.constantFrom(...letters, '.', '_', '-'), maxLength: 62 }),
  )
  .map((parts) => parts.join(''));

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof CoppiceError ? error.code : String(error);
  }
  return 'fine';
}

describe('names', () => {
  test('every name of the allowed characters is taken as it is, and is safe as one path component', () => {
    fc.assert(
      fc.property(name, (text) => {
        expect(parseName(text)).toBe(text);
        expect(text.includes('/') || text === '.' || text === '..' || text.startsWith('-')).toBe(false);
      }),
    );
  });

  test('anything else is refused with a typed error that carries no control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (text) => {
        if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text) && !text.endsWith('\n')) return;
        expect(codeOf(() => parseName(text))).toBe('invalid_argument');
        try {
          parseName(text);
        } catch (error) {
          expect(String(error)).not.toMatch(/\p{C}/u);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('a reference and its text are the same thing', () => {
    fc.assert(
      fc.property(name, fc.option(name, { nil: undefined }), (volume, snapshot) => {
        const text = snapshot === undefined ? volume : `${volume}@${snapshot}`;
        const reference = parseReference(text);
        expect(reference).toEqual(snapshot === undefined ? { volume } : { volume, snapshot });
        expect(formatReference(reference)).toBe(text);
        expect(codeOf(() => parseSnapshotReference(text))).toBe(
          snapshot === undefined ? 'invalid_argument' : 'fine',
        );
        expect(codeOf(() => parseVolumeName(text))).toBe(
          snapshot === undefined ? 'fine' : 'invalid_argument',
        );
      }),
    );
  });

  test.each(['', '@', 'a@', '@a', 'a@b@c', 'a@b\n', '\na', 'a\n', 'a/../b@c'])(
    '%j is no reference',
    (text) => {
      expect(codeOf(() => parseReference(text))).toBe('invalid_argument');
    },
  );
});
