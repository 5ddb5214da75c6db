import { expect, test } from 'vitest';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const good = [
  'a',
  '0',
  'x'.repeat(63),
  'with-hyphen',
  'with.dots.in-it',
  'UPPER_lower-9',
  'a..b',
  'a-',
  '1@'.slice(0, 1),
];

const hostile = [
  '',
  '.',
  '..',
  '-leading',
  '.hidden',
  '_under',
  '/',
  'a/b',
  '../escape',
  '/etc/passwd',
  'with space',
  'line\nbreak',
  'trailing\n',
  'nul\0byte',
  'tab\t',
  'x'.repeat(64),
  'x'.repeat(5000),
  'ünïcode',
  '$(reboot)',
  ';id',
  '*',
  'a@',
  '@b',
  'a@b@c',
  'a%2fb',
  '\u202eevil',
];

conformance('names', (suite) => {
  test.each(good)('%j can be used', async (name) => {
    await suite.pool.create(name, { bytes: 4096 });
    await suite.pool.snapshot(`${name}@${name}`);
    expect(await suite.pool.show(name)).toMatchObject({ name, type: 'volume', snapshots: 1 });
    await suite.pool.remove(name, { withSnapshots: true });
    expect((await suite.pool.list()).map((volume) => volume.name)).not.toContain(name);
  });

  test.each(hostile)('%j is refused by every operation', async (name) => {
    const { pool } = suite;
    const before = await pool.list();
    const { name: real } = await suite.volume();
    const attempts: Record<string, () => Promise<unknown>> = {
      create: () => pool.create(name, { bytes: 4096 }),
      clone: () => pool.clone(real, name),
      cloneFrom: () => pool.clone(name, 'new'),
      snapshotOf: () => pool.snapshot(name),
      snapshotName: () => pool.snapshot(`${real}@${name}`),
      rollback: () => pool.rollback(`${real}@${name}`),
      renameFrom: () => pool.rename(name, 'new'),
      renameTo: () => pool.rename(real, name),
      grow: () => pool.grow(name, { bytes: 8192 }),
      sealFrom: () => pool.seal(name, 'new'),
      sealTo: () => pool.seal(real, name),
      remove: () => pool.remove(name),
      removeIfExists: () => pool.remove([real, name], { ifExists: true }),
      import: () => pool.import(name, '/dev/null'),
      export: () => pool.export(name, `${suite.scratch}/out`),
      show: () => pool.show(name),
      path: () => pool.diskPath(name),
      tree: () => pool.tree(name),
      usage: () => pool.usage([name]),
      listSnapshots: () => pool.listSnapshots(name),
    };
    for (const [operation, attempt] of Object.entries(attempts)) {
      const error = await refusal(attempt);
      expect(error.code, `${operation} of ${JSON.stringify(name)}: ${error.message}`).toBe(
        'invalid_argument',
      );
      // What is said back to a terminal must not carry control characters of an attacker.
      expect(error.message).not.toMatch(/\p{C}/u);
    }
    await pool.remove(real);
    expect(await pool.list()).toEqual(before);
  });

  test('a volume "a" with a snapshot "b-c" and a volume "a-b" with a snapshot "c" are four things', async () => {
    const { sizeUnit } = suite.backend;
    await suite.pool.create('a', { bytes: sizeUnit });
    await suite.pool.create('a-b', { bytes: 2 * sizeUnit });
    await suite.pool.snapshot('a@b-c');
    await suite.pool.snapshot('a-b@c');
    expect((await suite.pool.listSnapshots()).map((entry) => [entry.reference, entry.bytes])).toEqual([
      ['a@b-c', sizeUnit],
      ['a-b@c', 2 * sizeUnit],
    ]);
    await suite.pool.remove('a', { withSnapshots: true });
    expect((await suite.pool.show('a-b')).snapshotList.map((entry) => entry.name)).toEqual(['c']);
    await suite.pool.remove('a-b', { withSnapshots: true });
  });

  test('a name is taken for every pair of kinds, and what has it stays as it is', async () => {
    const { pool } = suite;
    const source = await suite.volume();
    await pool.snapshot(`${source.name}@s`);
    const image = `${suite.scratch}/taken.raw`;
    await pool.export(source.name, image);
    const holders = {
      volume: (name: string) => pool.create(name, { bytes: 4096 }),
      clone: (name: string) => pool.clone(source.name, name),
      'clone of a snapshot': (name: string) => pool.clone(`${source.name}@s`, name),
      template: (name: string) => pool.seal(source.name, name),
      'imported template': (name: string) => pool.import(name, image),
      'renamed volume': async (name: string) => {
        const { name: other } = await suite.volume();
        await pool.rename(other, name).catch(async (error: unknown) => {
          await pool.remove(other);
          throw error;
        });
      },
    };
    for (const [first, make] of Object.entries(holders)) {
      const name = suite.name('taken');
      await make(name);
      const before = await pool.show(name);
      for (const [second, makeAgain] of Object.entries(holders)) {
        const error = await refusal(() => makeAgain(name), 'already_exists');
        expect(error.message, `${second} over ${first}`).toContain(name);
      }
      expect(await pool.show(name)).toEqual(before);
    }
    await pool.snapshot(`${source.name}@t`);
    const error = await refusal(() => pool.snapshot(`${source.name}@t`), 'already_exists');
    expect(error.message).toContain('t');
  });

  test('a reference of the wrong kind is refused with the right one', async () => {
    const { name } = await suite.volume();
    expect((await refusal(() => suite.pool.rollback(name), 'invalid_argument')).message).toContain(
      `${name}@SNAPSHOT`,
    );
    expect(
      (await refusal(() => suite.pool.create(`${name}@s`, { bytes: 1 }), 'invalid_argument')).message,
    ).toContain(`write ${name}`);
    await refusal(() => suite.pool.clone(name, `${name}@s`), 'invalid_argument');
    await refusal(() => suite.pool.rename(name, `${name}@s`), 'invalid_argument');
    await refusal(() => suite.pool.grow(`${name}@s`, { bytes: 2 ** 21 }), 'invalid_argument');
    await refusal(() => suite.pool.tree(`${name}@s`), 'invalid_argument');
  });

  test('a mistyped name is answered with the nearest one', async () => {
    await suite.pool.create('debian-12', { bytes: 4096 });
    await suite.pool.snapshot('debian-12@before-upgrade');
    expect((await refusal(() => suite.pool.show('debain-12'), 'not_found')).message).toContain('"debian-12"');
    expect(
      (await refusal(() => suite.pool.rollback('debian-12@before-upgrad'), 'not_found')).message,
    ).toContain('"before-upgrade"');
  });
});
