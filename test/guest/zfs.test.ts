import { expect, test } from 'vitest';
import { guestImage } from './image.ts';
import { runInGuest } from './run-tests.ts';

/** The cases that every kind of pool passes, on a real ZFS in a guest; each is told here as it was there. */
const always = [
  'test/conformance/zfs.test.ts',
  'test/conformance/volumes.test.ts',
  'test/conformance/snapshots.test.ts',
  'test/conformance/rollback.test.ts',
  'test/conformance/clones.test.ts',
];

/** The others take a quarter of an hour where the guest is emulated: `npm run test:guest`. */
const long = [
  'test/conformance/arguments.test.ts',
  'test/conformance/usage.test.ts',
  'test/conformance/groups.test.ts',
  'test/conformance/lineage.test.ts',
  'test/conformance/names.test.ts',
  'test/conformance/import.test.ts',
  'test/conformance/export.test.ts',
  'test/conformance/waiting.test.ts',
  'test/conformance/concurrency.test.ts',
];
const everything = process.env['COPPICE_GUEST'] === 'all';

const { image, unless } = guestImage();

if (!image) test.skip(`conformance on zfs${unless}`, () => {});
else {
  const { results, problem } = await runInGuest(image, [...always, ...(everything ? long : [])]);
  test('the guest came to its end, and every file was run', () => expect(problem).toBe(''));
  for (const { file, name, state, errors } of results) {
    if (state === 'skipped') test.skip(`${file} > ${name}`, () => {});
    else test(`${file} > ${name}`, () => expect(errors, state).toEqual([]));
  }
}
