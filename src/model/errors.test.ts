import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Blocker, blockedBy, CoppiceError, didYouMean } from './errors.ts';

describe('errors', () => {
  test('as data they keep code, message, blockers and numbers, and nothing that is not there', () => {
    expect(new CoppiceError('busy', 'It is.').toJSON()).toEqual({ code: 'busy', message: 'It is.' });
    const error = new CoppiceError('no_space', 'Full.', {
      neededBytes: 2,
      availableBytes: 0,
      cause: new Error('ENOSPC'),
    });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'no_space',
      message: 'Full.',
      neededBytes: 2,
      availableBytes: 0,
    });
    expect((error.cause as Error).message).toBe('ENOSPC');
    expect('cause' in new CoppiceError('busy', 'It is.')).toBe(false);
  });

  test('what is blocked lists every blocker and each remedy once', () => {
    const blockers: readonly Blocker[] = [
      { kind: 'snapshots', what: 'v has the snapshot a', remedy: 'remove it' },
      { kind: 'snapshots', what: 'v has the snapshot b', remedy: 'remove it' },
      { kind: 'open', what: 'it is open in process 1', remedy: 'stop it' },
    ];
    const error = blockedBy('Could not remove v', blockers);
    expect(error).toMatchObject({ code: 'blocked', blockers });
    expect(error.message).toBe(
      'Could not remove v: v has the snapshot a; v has the snapshot b; it is open in process 1. To go on: remove it; or stop it.',
    );
  });

  test.each([
    ['debain', ['debian', 'ubuntu'], ' Did you mean "debian"?'],
    ['--forse', ['--force', '--format'], ' Did you mean "--force"?'],
    ['x', ['y'], ' Did you mean "y"?'],
    ['web', ['database'], ''],
    ['web', [], ''],
    ['', ['a'], ' Did you mean "a"?'],
  ])('for %j among %j it is%s', (word, candidates, expected) => {
    expect(didYouMean(word, candidates)).toBe(expected);
  });

  test('one slip in a word of three or more letters is found again', () => {
    const word = fc.string({ unit: fc.constantFrom(...'abcdefgh'), minLength: 3, maxLength: 12 });
    fc.assert(
      fc.property(
        word,
        fc.nat(),
        fc.constantFrom('drop', 'double', 'swap', 'change'),
        (original, seed, slip) => {
          const at = seed % original.length;
          const letter = original[at] ?? '';
          const mistyped = {
            drop: original.slice(0, at) + original.slice(at + 1),
            double: original.slice(0, at) + letter + original.slice(at),
            swap: original.slice(0, at) + (original[at + 1] ?? '') + letter + original.slice(at + 2),
            change: `${original.slice(0, at)}z${original.slice(at + 1)}`,
          }[slip];
          expect(didYouMean(mistyped, ['something-else-entirely', original])).toBe(
            ` Did you mean "${original}"?`,
          );
        },
      ),
    );
  });
});
