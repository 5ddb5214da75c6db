import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { guestImage } from './image.ts';
import { runInGuest } from './run-tests.ts';

/**
 * The cases that every kind of pool passes, on a real ZFS in a guest; each is told here as it was there.
 */

/** What `npm test` has time for where the guest is emulated: there everything takes ten times as long, and all of it half an hour. */
const always = ['zfs', 'zfs-pools', 'zfs-mishaps', 'snapshots'];

/** The others that the suite has: `npm run test:guest`. */
const long = readdirSync('test/conformance')
  .filter((file) => file.endsWith('.test.ts'))
  .filter((file) => readFileSync(join('test/conformance', file), 'utf8').includes('conformance('))
  .map((file) => file.replace('.test.ts', ''))
  .filter((topic) => !always.includes(topic));
const everything = process.env['COPPICE_GUEST'] === 'all';

const { image, unless } = await guestImage();

if (!image) test.skip(`conformance on zfs${unless}`, () => {});
else {
  const { results, problem } = await runInGuest(
    image,
    [...always, ...(everything ? long : [])].map((topic) => `test/conformance/${topic}.test.ts`),
    { timeout: 90 * 60_000 },
  );
  test('the guest came to its end, and every file was run', () => expect(problem).toBe(''));
  for (const { file, name, state, errors } of results) {
    if (state === 'skipped') test.skip(`${file} > ${name}`, () => {});
    else test(`${file} > ${name}`, () => expect({ state, errors }).toEqual({ state: 'passed', errors: [] }));
  }
}
