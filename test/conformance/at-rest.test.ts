import { chmodSync, chownSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { conformance } from './suite.ts';

conformance('snapshots at rest', (suite) => {
  const { needs } = suite;

  test('every application is held before and released after, in the order that is declared', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const hooks = hooksIn();
    await pool.set(name, {
      'quiesce.hook.b': hooks.program('b'),
      'quiesce.hook.a': hooks.program('a'),
      'quiesce.hook.c': hooks.program('c'),
      'quiesce.order': 'hook.c,hook.a',
    });
    const taken = await pool.snapshot(`${name}@s`);
    expect(taken).toMatchObject({ consistency: 'application', heldMilliseconds: expect.any(Number) });
    expect(taken.applications?.map((each) => each.name)).toEqual(['hook.c', 'hook.a', 'hook.b']);
    expect(hooks.log()).toEqual(['c pre', 'a pre', 'b pre', 'b post', 'a post', 'c post']);
    expect(await pool.listSnapshots(name)).toMatchObject([
      { consistency: 'application', applications: [{ level: 'application', recovery: 'none' }, {}, {}] },
    ]);
    // Whoever asks for less gets that, and nobody is disturbed.
    expect(await pool.snapshot(`${name}@plain`, { consistency: 'sync' })).not.toHaveProperty('applications');
    expect(hooks.log()).toHaveLength(6);
  });

  test('one that can not be held means no snapshot, and what was held goes on', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const hooks = hooksIn();
    await pool.set(name, {
      'quiesce.hook.good': hooks.program('good'),
      'quiesce.hook.bad': hooks.program('bad', 'pre'),
    });
    const error = await refusal(() => pool.snapshot(`${name}@s`), 'io_error');
    expect(error.message).toContain('hook.bad: ');
    expect(hooks.log()).toEqual(['good pre', 'bad pre', 'bad post', 'good post']);
    expect(await pool.listSnapshots(name)).toEqual([]);
    // One that could not be let go may not have held still either.
    await pool.set(name, { 'quiesce.hook.bad': hooks.program('worse', 'post') });
    await refusal(() => pool.snapshot(`${name}@s`), 'io_error');
    expect(hooks.log().slice(4)).toEqual(['good pre', 'worse pre', 'worse post', 'good post']);
    expect(await pool.listSnapshots(name)).toEqual([]);
  });

  test('a weaker one is an error unless it is allowed, and says then that it is', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const hooks = hooksIn();
    const program = hooks.program('gone');
    await pool.set(name, { 'quiesce.hook': program });
    rmSync(program);
    await refusal(() => pool.snapshot(`${name}@s`), 'io_error');
    const taken = await pool.snapshot(`${name}@s`, { allowWeaker: true });
    expect(taken).toMatchObject({ consistency: 'sync', weaker: expect.stringContaining(program) });
    expect(await pool.listSnapshots(name)).toMatchObject([{ consistency: 'sync' }]);
    // The same where it shows only when it is held, or when it is let go.
    for (const phase of ['pre', 'post'] as const) {
      await pool.set(name, { 'quiesce.hook': hooks.program(`bad-${phase}`, phase) });
      await refusal(() => pool.snapshot(`${name}@${phase}`), 'io_error');
      expect(await pool.snapshot(`${name}@${phase}`, { allowWeaker: true })).toMatchObject({
        consistency: 'sync',
        weaker: expect.stringContaining('hook: '),
      });
    }
    expect((await pool.listSnapshots(name)).map((each) => each.name)).toEqual(['s', 'pre', 'post']);
    // And where what should have stopped has the volume open still.
    const { name: used, path } = await suite.volume();
    await pool.set(used, { 'stop.hook': '/usr/bin/true' });
    await using open = await holdOpen(path);
    void open;
    await refusal(() => pool.snapshot(`${used}@s`, { consistency: 'cold' }), 'blocked');
    expect(await pool.snapshot(`${used}@s`, { consistency: 'cold', allowWeaker: true })).toMatchObject({
      consistency: 'sync',
      weaker: expect.stringContaining('is still in use'),
    });
    const bare = await suite.volume();
    await refusal(() => pool.snapshot(`${bare.name}@s`, { consistency: 'application' }), 'invalid_argument');
    await refusal(() => pool.snapshot(`${bare.name}@s`, { consistency: 'cold' }), 'invalid_argument');
    await refusal(
      () => pool.snapshot(`${bare.name}@s`, { consistency: 'best' as 'cold' }),
      'invalid_argument',
    );
    expect(await pool.snapshot(`${bare.name}@s`, { consistency: 'none' })).toMatchObject({
      consistency: 'none',
    });
    await pool.set(bare.name, { consistency: 'none' });
    expect(await pool.snapshot(`${bare.name}@t`)).toMatchObject({ consistency: 'none' });
  });

  test('of several volumes all are taken while all are held, or none', async () => {
    const { pool } = suite;
    const [a, b, plain] = [await suite.volume(), await suite.volume(), await suite.volume()];
    const hooks = hooksIn();
    await pool.set(a.name, { 'quiesce.hook': hooks.program('a') });
    await pool.set(b.name, { 'quiesce.hook': hooks.program('b') });
    const names = [a.name, b.name, plain.name];
    const { snapshots, group } = await pool.snapshot(names, { name: 'together' });
    expect(snapshots.map(({ consistency }) => consistency)).toEqual(['application', 'application', 'sync']);
    expect(snapshots.map(({ applications = [] }) => applications.length)).toEqual([1, 1, 0]);
    expect(hooks.log()).toEqual(['a pre', 'b pre', 'b post', 'a post']);
    for (const name of names) expect(await pool.listSnapshots(name)).toMatchObject([{ group }]);
    await pool.set(b.name, { 'quiesce.hook': hooks.program('bad', 'pre') });
    await refusal(() => pool.snapshot(names, { name: 'none' }), 'io_error');
    for (const name of names) expect(await pool.listSnapshots(name)).toHaveLength(1);
  });

  test('what is set stays with the volume, is not handed on to clones, and is checked when it is set', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const hooks = hooksIn();
    const settings = { consistency: 'sync', 'quiesce.hook': hooks.program('a') };
    expect(await pool.set(name, settings)).toEqual(settings);
    const [renamed, clone] = [suite.name('renamed'), suite.name('clone')];
    await pool.rename(name, renamed);
    expect(await pool.settings(renamed)).toEqual(settings);
    await pool.clone(renamed, clone);
    expect(await pool.settings(clone)).toEqual({});
    await refusal(() => pool.set(clone, { quiesce: 'x' }), 'invalid_argument');
    await refusal(() => pool.set(clone, { 'quiesce.nothing': 'x' }), 'invalid_argument');
    await refusal(() => pool.set(clone, { 'quiesce.hook': 'relative' }), 'invalid_argument');
    await refusal(() => pool.set(clone, { consistency: 'best' }), 'invalid_argument');
    for (const wrong of ['0', '1.5', '90000', 'soon'])
      await refusal(() => pool.set(clone, { 'stop.timeout': wrong }), 'invalid_argument');
    await refusal(() => pool.set(clone, { 'verify.sql': 'x'.repeat(2000) }), 'invalid_argument');
    const long = Object.fromEntries(
      ['a', 'b', 'c', 'd'].map((key) => [`verify.sql-${key}`, 'x'.repeat(1000)]),
    );
    expect((await refusal(() => pool.set(clone, long), 'invalid_argument')).message).toContain('shorten');
    expect(await pool.settings(clone)).toEqual({});
    expect(await pool.set(renamed, { consistency: null, 'quiesce.hook': null })).toEqual({});
    await refusal(() => pool.set('never-made', {}), 'not_found');
  });

  needs('directories')('what another user could have written is not run for him', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const hooks = hooksIn();
    await pool.set(name, { 'quiesce.hook': hooks.program('a') });
    const directory = join(suite.home.path, 'volumes', name);
    chownSync(directory, 65_534, 65_534);
    try {
      const error = await refusal(() => pool.snapshot(`${name}@s`), 'permission_denied');
      expect(error.message).toContain('65534');
      expect(hooks.log()).toEqual([]);
    } finally {
      chownSync(directory, 0, 0);
    }
  });
});

/** Programs that write down what they are run for, in one file. */
function hooksIn(): { program(label: string, fails?: 'pre' | 'post'): string; log(): string[] } {
  const directory = scratchDirectory('hooks');
  const file = join(directory, 'log');
  return {
    program(label, fails) {
      const path = join(directory, label);
      writeFileSync(path, `#!/bin/sh\necho ${label} "$1" >> ${file}\n[ "$1" != "${fails ?? ''}" ]\n`);
      chmodSync(path, 0o755);
      return path;
    },
    log: () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []),
  };
}
