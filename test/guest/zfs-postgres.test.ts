import { join } from 'node:path';
import { expect, test } from 'vitest';
import { builtCommand } from '../support/built.ts';
import { skippedWithout } from '../support/needs.ts';
import { postgresPrograms } from '../support/postgres/programs.ts';
import { guestImage } from './image.ts';
import { runInGuest } from './run-tests.ts';

/** PostgreSQL in a directory tree on a real ZFS, in a guest; `npm run test:guest` only, because it takes minutes. */

const wanted = process.env['COPPICE_GUEST'] === 'all';
const missing = skippedWithout(join(postgresPrograms(), 'postgres'));
const { image, unless } =
  wanted && missing === ''
    ? await guestImage()
    : { image: undefined, unless: missing || ' (skipped: it takes minutes; npm run test:guest)' };

if (!image) test.skip(`PostgreSQL on zfs${unless}`, () => {});
else {
  // In the guest it would take minutes.
  builtCommand();
  const { results, problem } = await runInGuest(image, ['test/consistency/postgres-volume.test.ts'], {
    postgres: true,
  });
  test('the guest came to its end, and every file was run', () => expect(problem).toBe(''));
  for (const { name, state, errors } of results) {
    if (state === 'skipped') test.skip(name, () => {});
    else test(name, () => expect({ state, errors }).toEqual({ state: 'passed', errors: [] }));
  }
}
